//! `wulf node`: nodes of the registry.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::change::{ChangeFlags, no_such, nodes_file, save};
use super::entry::EntryFlags;
use super::{ApproveArgs, Cell, Context, LogArgs, StatusArgs, Table, print};
use crate::exit::{Ended, Exit};
use crate::registry::{Defaults, Editor, Entry, Node, Registry, Snapshot, expand, flatten};

/// Manage nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Add nodes; without --profile they get the profile `default`.
    Add(AddArgs),
    /// Change fields of nodes.
    Set(SetArgs),
    /// List nodes.
    List {
        /// Nodes such as n1 or n[1-4]; all if none are named.
        names: Vec<String>,
    },
    /// Show all that the registry says of nodes, profiles merged in.
    Show {
        /// Nodes such as n1 or n[1-4].
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove nodes from the registry.
    Delete(DeleteArgs),
    /// Where the boots of nodes stand.
    Status(StatusArgs),
    /// What a node's agent and console said during a boot.
    Log(LogArgs),
    /// Let boots go on that wait for approval, where an interface has `token: approve`: once, within a quarter of an hour.
    Approve(ApproveArgs),
}

/// Arguments of `wulf node add`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// Nodes such as n1 or n[1-4].
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    fields: EntryFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf node set`.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Nodes such as n1 or n[1-4].
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// All nodes.
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    fields: EntryFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Arguments of `wulf node delete`.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// Nodes such as n1 or n[1-4].
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    change: ChangeFlags,
}

impl NodeCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add(args) => add(context, &args),
            Self::Set(args) => set(context, &args),
            Self::List { names } => list(context, &select(context, &names)?),
            Self::Show { names } => show(context, &select(context, &names)?),
            Self::Delete(args) => delete(context, &args),
            Self::Status(args) => args.run(context),
            Self::Log(args) => args.run(context),
            Self::Approve(args) => args.run(context),
        }
    }
}

fn load(context: &Context) -> anyhow::Result<Arc<Snapshot>> {
    let config = context.load_config()?;
    Ok(Registry::load_with(&config.paths.nodes_file(), Defaults::from(&config))?.resolve())
}

fn names(expressions: &[String]) -> anyhow::Result<Vec<String>> {
    expand(expressions).map_err(|error| Ended::new(Exit::Usage, error.to_string()).into())
}

/// The named nodes, or all.
fn select(context: &Context, expressions: &[String]) -> anyhow::Result<Vec<Arc<Node>>> {
    let snapshot = load(context)?;
    if expressions.is_empty() {
        return Ok(snapshot.nodes().cloned().collect());
    }
    let (mut found, mut missing) = (vec![], vec![]);
    for name in names(expressions)? {
        match name.parse().ok().and_then(|name| snapshot.node(&name)) {
            Some(node) => found.push(Arc::clone(node)),
            None => missing.push(name),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(no_such("node", &missing)) }
}

fn add(context: &Context, args: &AddArgs) -> anyhow::Result<ExitCode> {
    let mut editor = Editor::open(&nodes_file(context)?)?;
    let names = names(&args.names)?;
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
    let mut editor = Editor::open(&nodes_file(context)?)?;
    let names = if args.all { editor.file.nodes.keys().cloned().collect() } else { names(&args.names)? };
    let missing: Vec<String> = names.iter().filter(|name| !editor.file.nodes.contains_key(*name)).cloned().collect();
    if !missing.is_empty() {
        return Err(no_such("node", &missing));
    }
    for (index, name) in (0..).zip(&names) {
        if let Some(entry) = editor.file.nodes.get_mut(name) {
            args.fields.apply(entry, index, names.len()).with_context(|| format!("node {name}"))?;
        }
    }
    save(context, editor, args.change, false)
}

fn delete(context: &Context, args: &DeleteArgs) -> anyhow::Result<ExitCode> {
    let mut editor = Editor::open(&nodes_file(context)?)?;
    let names = names(&args.names)?;
    let missing: Vec<String> =
        names.into_iter().filter(|name| editor.file.nodes.shift_remove(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(no_such("node", &missing));
    }
    save(context, editor, args.change, true)
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
