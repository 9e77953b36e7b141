//! `wulf profile`: what nodes share.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::change::{ChangeFlags, no_such, nodes_file, save};
use super::entry::EntryFlags;
use super::{Cell, Context, Table, print};
use crate::exit::{Ended, Exit};
use crate::registry::{Editor, Entry, Map, Registry, flatten};

/// Manage profiles.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Add a profile.
    Add(ProfileArgs),
    /// Change fields of a profile.
    Set(ProfileArgs),
    /// List profiles.
    List,
    /// Show what a profile says.
    Show {
        /// The profile.
        name: String,
    },
    /// Remove a profile that no node and no other profile names.
    Delete(ProfileDeleteArgs),
}

/// Arguments of `wulf profile delete`.
#[derive(Args, Debug)]
pub struct ProfileDeleteArgs {
    /// The profile.
    name: String,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf profile add` and `wulf profile set`.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    /// The profile.
    name: String,
    #[command(flatten)]
    fields: EntryFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

impl ProfileCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let path = nodes_file(context)?;
        match self {
            Self::Add(args) => {
                let mut editor = Editor::open(&path)?;
                if editor.file.nodeprofiles.contains_key(&args.name) {
                    let message = format!("profile {} exists; `wulf profile set` changes it", args.name);
                    return Err(Ended::new(Exit::Failed, message).into());
                }
                let mut entry = Entry::default();
                args.fields.apply(&mut entry, 0, 1).with_context(|| format!("profile {}", args.name))?;
                editor.file.nodeprofiles.insert(args.name, entry);
                save(context, editor, args.change, false)
            }
            Self::Set(args) => {
                let mut editor = Editor::open(&path)?;
                let entry = editor.file.nodeprofiles.get_mut(&args.name);
                let entry = entry.ok_or_else(|| no_such("profile", std::slice::from_ref(&args.name)))?;
                args.fields.apply(entry, 0, 1).with_context(|| format!("profile {}", args.name))?;
                save(context, editor, args.change, false)
            }
            Self::Delete(ProfileDeleteArgs { name, change }) => {
                let mut editor = Editor::open(&path)?;
                if editor.file.nodeprofiles.shift_remove(&name).is_none() {
                    return Err(no_such("profile", &[name]));
                }
                save(context, editor, change, true)
            }
            Self::List => list(context, &Registry::load(&path)?),
            Self::Show { name } => show(context, &Registry::load(&path)?, &name),
        }
    }
}

fn list(context: &Context, registry: &Registry) -> anyhow::Result<ExitCode> {
    let profiles: Map<Entry> =
        registry.file().nodeprofiles.iter().map(|(name, entry)| (name.clone(), without_password(entry))).collect();
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

fn show(context: &Context, registry: &Registry, name: &str) -> anyhow::Result<ExitCode> {
    let entry = registry.file().nodeprofiles.get(name).ok_or_else(|| no_such("profile", &[name.to_owned()]))?;
    let entry = without_password(entry);
    print(context, &entry, || {
        let mut table = Table::pairs();
        flatten(&entry).into_iter().for_each(|(field, value)| table.row([field.into(), value.into()]));
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
