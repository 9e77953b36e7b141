//! `wulf node`: nodes of the registry.

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::change::{ChangeFlags, Doing, open, save};
use super::fields::{SetFlags, UnsetFlags};
use super::node_list::{ListArgs, ShowArgs};
use super::nodes::{Guard, NODESETS, groups_of, in_order, no_such_nodes, texts};
use super::power::{ConsoleArgs, SensorsArgs};
use super::section::{ImportArgs, Section, edit, export, import};
use super::{AdoptArgs, ApproveArgs, BootArgs, Context, LogArgs, StatusArgs};
use crate::exit::{Ended, Exit};
use crate::registry::{Editor, Entry, Registry};

/// Manage nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Add nodes; without --profile they get the profile `default`.
    #[command(after_long_help = NODESETS)]
    Add(AddArgs),
    /// Change fields of nodes.
    #[command(after_long_help = NODESETS)]
    Set(SetArgs),
    /// Clear fields of nodes: what profiles say of them counts again.
    #[command(after_long_help = NODESETS)]
    Unset(UnsetArgs),
    /// Open nodes in $EDITOR as YAML.
    #[command(after_long_help = NODESETS)]
    Edit(EditArgs),
    /// Print nodes as YAML, as they stand in the registry.
    #[command(after_long_help = NODESETS)]
    Export(ExportArgs),
    /// Take nodes from YAML; those that are there are replaced.
    Import(ImportArgs),
    /// List nodes.
    #[command(visible_alias = "ls", after_long_help = NODESETS)]
    List(ListArgs),
    /// Show all that the registry says of nodes, profiles merged in.
    #[command(after_long_help = NODESETS)]
    Show(ShowArgs),
    /// Remove nodes from the registry.
    #[command(visible_alias = "rm", after_long_help = NODESETS)]
    Delete(DeleteArgs),
    /// Where the boots of nodes stand.
    #[command(after_long_help = NODESETS)]
    Status(StatusArgs),
    /// What the agents and consoles of nodes said during a boot.
    #[command(after_long_help = NODESETS)]
    Log(LogArgs),
    /// Let boots go on that wait for approval, where an interface has `token: approve`: once, within a quarter of an hour.
    #[command(after_long_help = NODESETS)]
    Approve(ApproveArgs),
    /// Make unknown machines nodes; those that wait go on into their image. Nodes that are not in the registry are added.
    #[command(after_long_help = NODESETS)]
    Adopt(AdoptArgs),
    /// Choose what nodes boot at their next boot only.
    #[command(after_long_help = NODESETS)]
    Boot(BootArgs),
    /// The serial console of a node, by its management controller.
    Console(ConsoleArgs),
    /// What the sensors of nodes say, by their management controllers.
    #[command(after_long_help = NODESETS)]
    Sensors(SensorsArgs),
}

/// Arguments of `wulf node add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// Nodes; addresses count up in the order in which they are named.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    #[command(flatten)]
    guard: Guard,
    #[command(flatten)]
    fields: SetFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf node set`.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Nodes; addresses count up in the order in which they are named.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NODESET")]
    names: Vec<String>,
    /// All nodes.
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    guard: Guard,
    #[command(flatten)]
    fields: SetFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf node unset`.
#[derive(Args, Debug)]
pub struct UnsetArgs {
    /// Nodes.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    #[command(flatten)]
    guard: Guard,
    #[command(flatten)]
    fields: UnsetFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf node edit`.
#[derive(Args, Debug)]
pub struct EditArgs {
    /// Nodes; all if none are named.
    #[arg(value_name = "NODESET")]
    names: Vec<String>,
    /// Leave out the explanation at the top.
    #[arg(long)]
    noheader: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf node export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Nodes; all if none are named.
    #[arg(value_name = "NODESET")]
    names: Vec<String>,
    /// With passwords.
    #[arg(long)]
    secrets: bool,
}

/// Arguments of `wulf node delete`.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// Nodes.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    #[command(flatten)]
    guard: Guard,
    #[command(flatten)]
    change: ChangeFlags,
}

impl NodeCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add(args) => add(context, args),
            Self::Set(args) => set(context, args),
            Self::Unset(args) => unset(context, &args),
            Self::Edit(args) => {
                let names = standing(context, &args.names)?;
                edit(context, Section::Nodes, &names, !args.noheader, &args.change)
            }
            Self::Export(args) => {
                let names = standing(context, &args.names)?;
                let registry = Registry::load(&context.load_config()?.paths.nodes_file())?;
                export(Section::Nodes, registry.file(), &names, args.secrets)
            }
            Self::Import(args) => import(context, Section::Nodes, &args),
            Self::List(args) => args.run(context),
            Self::Show(args) => args.run(context),
            Self::Delete(args) => delete(context, &args),
            Self::Status(args) => args.run(context),
            Self::Log(args) => args.run(context),
            Self::Approve(args) => args.run(context),
            Self::Adopt(args) => args.run(context),
            Self::Boot(args) => args.run(context),
            Self::Console(args) => args.run(context),
            Self::Sensors(args) => args.run(context),
        }
    }
}

/// The named nodes of the registry, or all.
fn standing(context: &Context, names: &[String]) -> anyhow::Result<Vec<String>> {
    let registry = Registry::load(&context.load_config()?.paths.nodes_file())?;
    if names.is_empty() {
        return Ok(registry.file().nodes.keys().cloned().collect());
    }
    let names = in_order(&texts(names)?, &groups_of(registry.file()))?;
    let missing: Vec<&String> = names.iter().filter(|name| !registry.file().nodes.contains_key(*name)).collect();
    if missing.is_empty() { Ok(names) } else { Err(no_such_nodes("node", &missing)) }
}

fn add(context: &Context, mut args: AddArgs) -> anyhow::Result<ExitCode> {
    let texts = inputs(&args.names, &mut args.fields)?;
    let mut editor = open(context)?;
    let names = in_order(&texts, &groups_of(&editor.file))?;
    if !args.change.is_dry_run() {
        args.guard.check(context, &names)?;
    }
    for (index, name) in (0..).zip(&names) {
        if editor.file.nodes.contains_key(name) {
            return Err(Ended::new(Exit::Failed, format!("node {name} exists; `wulf node set` changes it")).into());
        }
        let mut entry = Entry::default();
        if !args.fields.names_profiles() && editor.file.nodeprofiles.contains_key("default") {
            entry.profiles = ["default"].into_iter().collect();
        }
        args.fields.apply(&mut entry, index, names.len()).with_context(|| format!("node {name}"))?;
        editor.file.nodes.insert(name.clone(), entry);
    }
    save(context, editor, &args.change, Doing::plainly("node add"))
}

/// Nodesets, and secrets: both before the registry is locked, because whoever gives them may want it.
fn inputs(names: &[String], fields: &mut SetFlags) -> anyhow::Result<Vec<String>> {
    if fields.reads_stdin() && names.iter().any(|name| name == "-") {
        return Err(Ended::new(Exit::Usage, "standard input cannot give both nodes and a password").into());
    }
    fields.fetch_secrets()?;
    texts(names)
}

fn set(context: &Context, mut args: SetArgs) -> anyhow::Result<ExitCode> {
    if args.fields.is_empty() {
        return Err(Ended::new(Exit::Usage, "say with a flag what to set; `wulf node set --help` lists them").into());
    }
    let texts = inputs(&args.names, &mut args.fields)?;
    let mut editor = open(context)?;
    let names = if args.all {
        editor.file.nodes.keys().cloned().collect()
    } else {
        in_order(&texts, &groups_of(&editor.file))?
    };
    known(&editor, &names)?;
    if !args.change.is_dry_run() {
        args.guard.check(context, &names)?;
    }
    for (index, name) in (0..).zip(&names) {
        if let Some(entry) = editor.file.nodes.get_mut(name) {
            args.fields.apply(entry, index, names.len()).with_context(|| format!("node {name}"))?;
        }
    }
    save(context, editor, &args.change, Doing::plainly("node set"))
}

fn unset(context: &Context, args: &UnsetArgs) -> anyhow::Result<ExitCode> {
    if args.fields.is_empty() {
        return Err(
            Ended::new(Exit::Usage, "say with a flag what to clear; `wulf node unset --help` lists them").into()
        );
    }
    let texts = texts(&args.names)?;
    let mut editor = open(context)?;
    let names = in_order(&texts, &groups_of(&editor.file))?;
    known(&editor, &names)?;
    if !args.change.is_dry_run() {
        args.guard.check(context, &names)?;
    }
    for name in &names {
        if let Some(entry) = editor.file.nodes.get_mut(name) {
            args.fields.apply(entry).with_context(|| format!("node {name}"))?;
        }
    }
    save(context, editor, &args.change, Doing::plainly("node unset"))
}

fn delete(context: &Context, args: &DeleteArgs) -> anyhow::Result<ExitCode> {
    let texts = texts(&args.names)?;
    let mut editor = open(context)?;
    let names = in_order(&texts, &groups_of(&editor.file))?;
    known(&editor, &names)?;
    if !args.change.is_dry_run() {
        args.guard.check(context, &names)?;
    }
    let gone: HashSet<&str> = names.iter().map(String::as_str).collect();
    editor.file.nodes.retain(|name, _| !gone.contains(name.as_str()));
    save(context, editor, &args.change, Doing::drastically("node delete"))
}

/// An error where the registry does not have all of them.
fn known(editor: &Editor, names: &[String]) -> anyhow::Result<()> {
    let missing: Vec<&String> = names.iter().filter(|name| !editor.file.nodes.contains_key(*name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(no_such_nodes("node", &missing)) }
}

#[cfg(test)]
pub(super) mod tests;
