//! `wulf profile`: what nodes share.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::change::{ChangeFlags, Doing, no_such, open, save};
use super::fields::{SetFlags, UnsetFlags};
use super::section::{ImportArgs, Section, edit, export, import};
use super::{Cell, Context, OutputFormat, Style, Table, print};
use crate::exit::{Ended, Exit};
use crate::registry::{Entry, Map, Registry, flatten, profile_origins};

/// Manage profiles.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Add profiles.
    Add(ProfileArgs),
    /// Change fields of profiles.
    Set(ProfileArgs),
    /// Clear fields of profiles.
    Unset(ProfileUnsetArgs),
    /// Open profiles in $EDITOR as YAML.
    Edit(ProfileEditArgs),
    /// Print profiles as YAML.
    Export(ProfileExportArgs),
    /// Take profiles from YAML; those that are there are replaced.
    Import(ImportArgs),
    /// List profiles.
    #[command(visible_alias = "ls")]
    List {
        /// Profiles; all if none are named.
        names: Vec<String>,
    },
    /// Show what profiles say.
    Show {
        /// Profiles.
        #[arg(required = true)]
        names: Vec<String>,
        /// With what they get from other profiles, and where it comes from.
        #[arg(long)]
        source: bool,
    },
    /// Remove profiles that no node and no other profile names.
    #[command(visible_alias = "rm")]
    Delete(ProfileDeleteArgs),
}

/// Arguments of `wulf profile delete`.
#[derive(Args, Debug)]
pub struct ProfileDeleteArgs {
    /// Profiles.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf profile add` and `wulf profile set`.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    /// Profiles.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    fields: SetFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf profile unset`.
#[derive(Args, Debug)]
pub struct ProfileUnsetArgs {
    /// Profiles.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    fields: UnsetFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf profile edit`.
#[derive(Args, Debug)]
pub struct ProfileEditArgs {
    /// Profiles; all if none are named.
    names: Vec<String>,
    /// Leave out the explanation at the top.
    #[arg(long)]
    noheader: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf profile export`.
#[derive(Args, Debug)]
pub struct ProfileExportArgs {
    /// Profiles; all if none are named.
    names: Vec<String>,
    /// With passwords.
    #[arg(long)]
    secrets: bool,
}

impl ProfileCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add(args) => add(context, args),
            Self::Set(args) => set(context, args),
            Self::Unset(args) => {
                let change = |entry: &mut Entry| args.fields.apply(entry);
                each(context, &args.names, &args.change, Doing::plainly("profile unset"), change)
            }
            Self::Edit(args) => {
                let names = standing(&load(context)?, &args.names)?;
                edit(context, Section::Profiles, &names, !args.noheader, &args.change)
            }
            Self::Export(args) => {
                let registry = load(context)?;
                let names = standing(&registry, &args.names)?;
                export(Section::Profiles, registry.file(), &names, args.secrets)
            }
            Self::Import(args) => import(context, Section::Profiles, &args),
            Self::Delete(args) => {
                let mut editor = open(context)?;
                for name in &args.names {
                    if editor.file.nodeprofiles.shift_remove(name).is_none() {
                        return Err(no_such("profile", std::slice::from_ref(name)));
                    }
                }
                save(context, editor, &args.change, Doing::drastically("profile delete"))
            }
            Self::List { names } => list(context, &load(context)?, &names),
            Self::Show { names, source } => show(context, &load(context)?, &names, source),
        }
    }
}

fn load(context: &Context) -> anyhow::Result<Registry> {
    Ok(Registry::load(&context.load_config()?.paths.nodes_file())?)
}

/// The named profiles, or all.
fn standing(registry: &Registry, names: &[String]) -> anyhow::Result<Vec<String>> {
    let profiles = &registry.file().nodeprofiles;
    if names.is_empty() {
        return Ok(profiles.keys().cloned().collect());
    }
    let missing: Vec<String> = names.iter().filter(|name| !profiles.contains_key(*name)).cloned().collect();
    if missing.is_empty() { Ok(names.to_vec()) } else { Err(no_such("profile", &missing)) }
}

fn add(context: &Context, mut args: ProfileArgs) -> anyhow::Result<ExitCode> {
    args.fields.fetch_secrets()?;
    let mut editor = open(context)?;
    for name in &args.names {
        if editor.file.nodeprofiles.contains_key(name) {
            let message = format!("profile {name} exists; `wulf profile set` changes it");
            return Err(Ended::new(Exit::Failed, message).into());
        }
        let mut entry = Entry::default();
        args.fields.apply(&mut entry, 0, 1).with_context(|| format!("profile {name}"))?;
        editor.file.nodeprofiles.insert(name.clone(), entry);
    }
    save(context, editor, &args.change, Doing::plainly("profile add"))
}

fn set(context: &Context, mut args: ProfileArgs) -> anyhow::Result<ExitCode> {
    if args.fields.is_empty() {
        let message = "say with a flag what to set; `wulf profile set --help` lists them";
        return Err(Ended::new(Exit::Usage, message).into());
    }
    args.fields.fetch_secrets()?;
    let change = |entry: &mut Entry| args.fields.apply(entry, 0, 1);
    each(context, &args.names, &args.change, Doing::plainly("profile set"), change)
}

/// Changes each of these profiles.
fn each(
    context: &Context,
    names: &[String],
    flags: &ChangeFlags,
    doing: Doing,
    change: impl Fn(&mut Entry) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut editor = open(context)?;
    for name in names {
        let entry = editor.file.nodeprofiles.get_mut(name);
        let entry = entry.ok_or_else(|| no_such("profile", std::slice::from_ref(name)))?;
        change(entry).with_context(|| format!("profile {name}"))?;
    }
    save(context, editor, flags, doing)
}

fn list(context: &Context, registry: &Registry, names: &[String]) -> anyhow::Result<ExitCode> {
    let names = standing(registry, names)?;
    let all = &registry.file().nodeprofiles;
    let profiles: Map<Entry> =
        names.iter().filter_map(|name| Some((name.clone(), without_password(all.get(name)?)))).collect();
    print(context, &profiles, || {
        let mut table = Table::new(["profile", "nodes", "image", "comment"]);
        for (name, entry) in &profiles {
            let users = registry.resolve().nodes().filter(|node| node.profiles.contains(name)).count();
            let (image, comment) = (Cell::or_dash(entry.image.as_ref()), Cell::or_dash(entry.comment.as_ref()));
            table.row([name.into(), users.to_string().into(), image, comment]);
        }
        table
    })?;
    Ok(Exit::Ok.into())
}

fn show(context: &Context, registry: &Registry, names: &[String], source: bool) -> anyhow::Result<ExitCode> {
    let names = standing(registry, names)?;
    let file = registry.file();
    let profiles: Map<Entry> =
        names.iter().filter_map(|name| Some((name.clone(), without_password(file.nodeprofiles.get(name)?)))).collect();
    if !source {
        print(context, &profiles, || {
            let mut table = Table::new(["profile", "field", "value"]);
            for (name, entry) in &profiles {
                let values = flatten(entry).into_iter();
                values.for_each(|(field, value)| table.row([name.into(), field.into(), value.into()]));
            }
            table
        })?;
        return Ok(Exit::Ok.into());
    }
    let origins: Map<_> = profiles
        .iter()
        .filter_map(|(name, _)| Some((name.clone(), profile_origins(file, name, file.nodeprofiles.get(name)?))))
        .collect();
    let plain = matches!(context.output, OutputFormat::Table | OutputFormat::Name);
    print(context, &origins, || {
        let mut table = Table::new(["profile", "field", "source", "value", "instead of"]);
        for (name, origins) in origins.iter().filter(|_| plain) {
            for origin in origins {
                let superseded: Vec<String> =
                    origin.superseded.iter().map(|(source, value)| format!("{value} ({source})")).collect();
                table.row([
                    name.into(),
                    (&origin.field).into(),
                    origin.sources.join(",").into(),
                    (&origin.value).into(),
                    Cell::new(superseded.join(", ")).style(Style::Dim),
                ]);
            }
        }
        table
    })?;
    Ok(Exit::Ok.into())
}

/// The password of the management controller is not for terminals.
fn without_password(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let Some(password) = &mut entry.ipmi.password {
        *password = "(secret)".into();
    }
    entry
}
