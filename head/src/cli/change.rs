//! Saving a change of the registry: what it changes is shown, a person is asked, a valid result is written and recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use super::difference::grouped;
use super::nodes::folded;
use super::{Context, note, print};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::registry::{Change, Deed, Editor, History, Surroundings, networks_of};

/// How a change is saved.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct ChangeFlags {
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Save although images, overlays, addresses or profiles do not fit.
    #[arg(long, short = 'f')]
    force: bool,
}

impl ChangeFlags {
    /// The same for what was in force once, and so need not fit now.
    pub(super) fn forced(&self) -> Self {
        Self { force: true, ..self.clone() }
    }

    /// Whether what does not fit is meant.
    pub(super) const fn is_forced(&self) -> bool {
        self.force
    }

    /// Whether nothing is changed.
    pub(super) const fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}

/// The registry, locked, with its history, and with what surrounds it to check changes against.
pub(super) fn open(context: &Context) -> anyhow::Result<Editor> {
    let config = context.load_config()?;
    let editor = Editor::open(&config.paths.nodes_file())?;
    with_all(editor, &config)
}

/// The same for an editor that is open.
pub(super) fn with_all(editor: Editor, config: &Config) -> anyhow::Result<Editor> {
    let interfaces: BTreeSet<String> = config.interfaces.keys().cloned().collect();
    let mut networks = networks_of(&interfaces).unwrap_or_else(|error| {
        note(&format!("warning: addresses are not checked against this host's networks: {error}"));
        vec![]
    });
    // Behind relays there are more.
    networks.extend(config.dhcp.subnets.keys().copied());
    let editor = editor.with_history(History::new(config.paths.history()))?;
    Ok(editor.with_surroundings(Surroundings::of(&config.paths, networks)))
}

/// What a command does, and how far it may go without asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing {
    /// `node set`, for the history.
    pub(super) what: &'static str,
    /// What is lost cannot be had back easily, so that nobody to ask means no.
    pub(super) drastic: bool,
}

impl Doing {
    /// A change that is saved without a question where nobody is there to answer it.
    pub(super) const fn plainly(what: &'static str) -> Self {
        Self { what, drastic: false }
    }

    /// One that needs `--yes` there.
    pub(super) const fn drastically(what: &'static str) -> Self {
        Self { what, drastic: true }
    }
}

/// Shows, asks, saves.
pub(super) fn save(context: &Context, editor: Editor, flags: &ChangeFlags, doing: Doing) -> anyhow::Result<ExitCode> {
    let changes = editor.changes();
    if changes.is_empty() {
        note("Nothing changes.");
        return Ok(Exit::Ok.into());
    }
    let registry = editor.check(flags.force)?;
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if flags.dry_run || terminal {
        print(context, &changes, || grouped(&changes))?;
    }
    let standing = registry.errors().0.iter().chain(registry.warnings());
    standing.take(20).for_each(|warning| note(&format!("warning: {warning}")));
    if flags.dry_run {
        return Ok(Exit::Ok.into());
    }
    if !context.yes && (doing.drastic || terminal) {
        if !terminal {
            return Err(Ended::new(Exit::Usage, "nobody is there to confirm this; say --yes").into());
        }
        confirm("Save? [y/N]")?;
    }
    let subject = summary(&changes);
    let deed = Deed { what: doing.what.into(), subject: subject.clone(), why: flags.reason.clone() };
    let (_, record) = editor.save_checked(registry, &deed)?;
    let undo = record.map_or_else(String::new, |record| format!(" (`wulf undo {}` takes it back)", record.number));
    note(&format!("changed {subject}{undo}"));
    Ok(Exit::Ok.into())
}

/// Asks a person, who is there; an error unless the answer is yes.
pub(super) fn confirm(question: &str) -> anyhow::Result<()> {
    note(question);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Ended::new(Exit::Failed, "nothing was changed").into())
    }
}

/// What was changed, in a line: `512 nodes: n[1-512]`.
pub(super) fn summary(changes: &[Change]) -> String {
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for change in changes {
        let mut steps = change.path.split(": ");
        if let (Some(section), Some(name)) = (steps.next(), steps.next()) {
            named.entry(section).or_default().insert(name);
        }
    }
    let parts = [("nodes", "node"), ("nodeprofiles", "profile")].into_iter().filter_map(|(section, kind)| {
        let names: Vec<&&str> = named.get(section)?.iter().collect();
        let shown = folded(&names);
        Some(if names.len() == 1 { format!("{kind} {shown}") } else { format!("{} {kind}s: {shown}", names.len()) })
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// An error for names that the registry does not have.
pub(super) fn no_such(kind: &str, missing: &[String]) -> anyhow::Error {
    let shown: Vec<&str> = missing.iter().take(10).map(String::as_str).collect();
    let more = if missing.len() > shown.len() { ", …" } else { "" };
    Ended::new(Exit::NothingMatched, format!("there is no {kind} {}{more}", shown.join(", "))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_folds_the_nodes_that_changed() {
        let change = |path: &str| Change { path: path.into(), before: None, after: Some("x".into()) };
        let nodes = ["nodes: n1: image name", "nodes: n1: tags: a", "nodes: n3", "nodes: n2: rack"].map(change);
        assert_eq!(summary(&nodes), "3 nodes: n[1-3]");
        assert_eq!(summary(&nodes[..2]), "node n1");
        let mixed = [change("nodeprofiles: default: init"), change("nodes: n1")];
        assert_eq!(summary(&mixed), "node n1; profile default");
    }
}
