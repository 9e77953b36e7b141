//! Saving a change of the registry: what it changes is shown, a person is asked, a valid result is written.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::nodes::folded;
use super::{Cell, Context, Style, Table, note, print};
use crate::exit::{Ended, Exit};
use crate::registry::{Change, Editor};

/// How a change is saved.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(super) struct ChangeFlags {
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl ChangeFlags {
    /// Whether nothing is changed.
    pub(super) const fn is_dry_run(self) -> bool {
        self.dry_run
    }
}

/// The registry's file.
pub(super) fn nodes_file(context: &Context) -> anyhow::Result<PathBuf> {
    Ok(context.load_config()?.paths.nodes_file())
}

/// Shows, asks, saves. `drastic`: what is lost cannot be had back, so that nobody to ask means no.
pub(super) fn save(context: &Context, editor: Editor, flags: ChangeFlags, drastic: bool) -> anyhow::Result<ExitCode> {
    let changes = editor.changes();
    if changes.is_empty() {
        note("Nothing changes.");
        return Ok(Exit::Ok.into());
    }
    let registry = editor.check()?;
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if flags.dry_run || terminal {
        print(context, &changes, || table(&changes))?;
    }
    registry.warnings().iter().for_each(|warning| note(&format!("warning: {warning}")));
    if flags.dry_run {
        return Ok(Exit::Ok.into());
    }
    if !context.yes && (drastic || terminal) {
        if !terminal {
            return Err(Ended::new(Exit::Usage, "nobody is there to confirm this; say --yes").into());
        }
        confirm("Save? [y/N]")?;
    }
    editor.save()?;
    note(&summary(&changes));
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

/// What was changed, in a line: `changed 512 nodes: n[1-512]`.
fn summary(changes: &[Change]) -> String {
    let named = |section: &str| -> Vec<String> {
        let names: BTreeSet<&str> = changes
            .iter()
            .filter_map(|change| change.path.strip_prefix(section)?.strip_prefix(": ")?.split(": ").next())
            .collect();
        names.into_iter().map(str::to_owned).collect()
    };
    let (nodes, profiles) = (named("nodes"), named("nodeprofiles"));
    let kinds = [("node", folded(&nodes), nodes.len()), ("profile", profiles.join(", "), profiles.len())];
    let parts = kinds.into_iter().filter(|(_, _, count)| *count > 0).map(|(kind, names, count)| match count {
        1 => format!("{kind} {names}"),
        _ => format!("{count} {kind}s: {names}"),
    });
    format!("changed {}", parts.collect::<Vec<_>>().join("; "))
}

fn table(changes: &[Change]) -> Table {
    let mut table = Table::pairs();
    for change in changes {
        let style = match (&change.before, &change.after) {
            (None, _) => Style::Good,
            (_, None) => Style::Bad,
            _ => Style::Warn,
        };
        table.row([Cell::new(change.to_string()).style(style)]);
    }
    table
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
        assert_eq!(summary(&nodes), "changed 3 nodes: n[1-3]");
        assert_eq!(summary(&nodes[..2]), "changed node n1");
        let mixed = [change("nodeprofiles: default: init"), change("nodes: n1")];
        assert_eq!(summary(&mixed), "changed node n1; profile default");
    }
}
