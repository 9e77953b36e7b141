//! Saving a change of the registry: what it changes is shown, a person is asked, a valid result is written.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Cell, Context, Style, Table, note, print};
use crate::exit::{Ended, Exit};
use crate::registry::{Change, Editor};

/// How a change is saved.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct ChangeFlags {
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
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
        note("Save? [y/N]");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Ended::new(Exit::Failed, "nothing was changed").into());
        }
    }
    editor.save()?;
    Ok(Exit::Ok.into())
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
