//! `wulf node`: nodes of the registry.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::change::{ChangeFlags, nodes_file, save};
use super::entry::EntryFlags;
use super::nodes::{Guard, NODESETS, chosen, groups_of, in_order, no_such_nodes, texts};
use super::{ApproveArgs, Cell, Context, LogArgs, StatusArgs, Table, print, write_out};
use crate::exit::{Ended, Exit};
use crate::nodeset::{Groups as _, NodeSet, RegistryGroups};
use crate::registry::{Defaults, Editor, Entry, Node, Registry, flatten};

/// Manage nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Add nodes; without --profile they get the profile `default`.
    #[command(after_long_help = NODESETS)]
    Add(AddArgs),
    /// Change fields of nodes.
    #[command(after_long_help = NODESETS)]
    Set(SetArgs),
    /// List nodes.
    #[command(after_long_help = NODESETS)]
    List {
        /// Nodes; all if none are named.
        #[arg(value_name = "NODESET")]
        names: Vec<String>,
        /// Print their names only, folded: n[1-4,7].
        #[arg(long)]
        fold: bool,
    },
    /// Show all that the registry says of nodes, profiles merged in.
    #[command(after_long_help = NODESETS)]
    Show {
        /// Nodes.
        #[arg(required = true, value_name = "NODESET")]
        names: Vec<String>,
    },
    /// Remove nodes from the registry.
    #[command(after_long_help = NODESETS)]
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
    fields: EntryFlags,
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
    fields: EntryFlags,
    #[command(flatten)]
    change: ChangeFlags,
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
            Self::Add(args) => add(context, &args),
            Self::Set(args) => set(context, &args),
            Self::List { names, fold: true } => fold(&select(context, &names)?),
            Self::List { names, fold: false } => list(context, &select(context, &names)?),
            Self::Show { names } => show(context, &select(context, &names)?),
            Self::Delete(args) => delete(context, &args),
            Self::Status(args) => args.run(context),
            Self::Log(args) => args.run(context),
            Self::Approve(args) => args.run(context),
        }
    }
}

/// The named nodes, or all; by pattern, then as people count.
fn select(context: &Context, names: &[String]) -> anyhow::Result<Vec<Arc<Node>>> {
    let config = context.load_config()?;
    let registry = Registry::load_with(&config.paths.nodes_file(), Defaults::from(&config))?;
    let (snapshot, groups) = (registry.resolve(), RegistryGroups::new(&registry));
    let wanted = if names.is_empty() { groups.all()? } else { chosen(names, &groups)? };
    let (mut found, mut missing) = (vec![], vec![]);
    for name in wanted.iter() {
        match name.parse().ok().and_then(|name| snapshot.node(&name)) {
            Some(node) => found.push(Arc::clone(node)),
            None => missing.push(name),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(no_such_nodes("node", &missing)) }
}

fn add(context: &Context, args: &AddArgs) -> anyhow::Result<ExitCode> {
    let texts = texts(&args.names)?;
    let mut editor = Editor::open(&nodes_file(context)?)?;
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
    save(context, editor, args.change, false)
}

fn set(context: &Context, args: &SetArgs) -> anyhow::Result<ExitCode> {
    let texts = texts(&args.names)?;
    let mut editor = Editor::open(&nodes_file(context)?)?;
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
    save(context, editor, args.change, false)
}

fn delete(context: &Context, args: &DeleteArgs) -> anyhow::Result<ExitCode> {
    let texts = texts(&args.names)?;
    let mut editor = Editor::open(&nodes_file(context)?)?;
    let names = in_order(&texts, &groups_of(&editor.file))?;
    known(&editor, &names)?;
    if !args.change.is_dry_run() {
        args.guard.check(context, &names)?;
    }
    let gone: HashSet<&str> = names.iter().map(String::as_str).collect();
    editor.file.nodes.retain(|name, _| !gone.contains(name.as_str()));
    save(context, editor, args.change, true)
}

/// An error where the registry does not have all of them.
fn known(editor: &Editor, names: &[String]) -> anyhow::Result<()> {
    let missing: Vec<&String> = names.iter().filter(|name| !editor.file.nodes.contains_key(*name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(no_such_nodes("node", &missing)) }
}

fn fold(nodes: &[Arc<Node>]) -> anyhow::Result<ExitCode> {
    let names: NodeSet = nodes.iter().map(|node| node.name.as_str()).collect();
    write_out(&format!("{names}\n"))?;
    Ok(Exit::Ok.into())
}

fn list(context: &Context, nodes: &[Arc<Node>]) -> anyhow::Result<ExitCode> {
    print(context, &nodes, || {
        let mut table = Table::new(["node", "profiles", "image", "mac", "address", "rack"]);
        for node in nodes {
            let primary = node.primary();
            table.row([
                node.name.as_str().into(),
                node.profiles.join(",").into(),
                Cell::or_dash(node.image.as_ref()),
                Cell::or_dash(primary.and_then(|interface| interface.mac)),
                Cell::or_dash(primary.and_then(|interface| interface.ip.or(interface.ip6))),
                Cell::or_dash(node.rack.as_ref()),
            ]);
        }
        table
    })?;
    Ok(Exit::Ok.into())
}

fn show(context: &Context, nodes: &[Arc<Node>]) -> anyhow::Result<ExitCode> {
    print(context, &nodes, || {
        let mut table = Table::new(["node", "field", "value"]);
        for node in nodes {
            for (field, value) in flatten(node.as_ref()) {
                table.row([node.name.as_str().into(), field.into(), value.into()]);
            }
        }
        table
    })?;
    Ok(Exit::Ok.into())
}

#[cfg(test)]
mod tests;
