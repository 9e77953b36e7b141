//! `wulf history`, `wulf diff`, `wulf undo`: states that the registry was in.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::change::{ChangeFlags, Doing, save, with_all};
use super::difference::grouped;
use super::{Cell, Context, Style, Table, note, print};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::registry::{Defaults, Editor, History, NodesFile, Record, Registry, RegistryError, diff, note_by_hand};

/// Show who changed nodes and profiles, when and why; the newest last.
#[derive(Args, Debug)]
pub struct HistoryCommand {
    /// The last so many; 0 for all.
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
    count: usize,
}

/// Show what changed between two states of nodes and profiles.
#[derive(Args, Debug)]
pub struct DiffCommand {
    /// Number of a state in `wulf history`; the last but one if there is none.
    from: Option<u64>,
    /// Number of a later state; what the file says now if there is none.
    to: Option<u64>,
}

/// Take changes of nodes and profiles back. That too is a change, which can be taken back.
#[derive(Args, Debug)]
pub struct UndoCommand {
    /// Number of the change in `wulf history`, which goes with all that came after it; the last one if there is none.
    number: Option<u64>,
    #[command(flatten)]
    change: ChangeFlags,
}

/// The history, up to what the file says now.
fn history(config: &Config) -> History {
    let history = History::new(config.paths.history());
    if let Err(error) = note_by_hand(&history, &config.paths.nodes_file()) {
        note(&format!("warning: what was changed by hand is not recorded: {:#}", anyhow::Error::from(error)));
    }
    history
}

impl HistoryCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config()?;
        let mut records = history(&config).records()?;
        if self.count > 0 {
            records.drain(..records.len().saturating_sub(self.count));
        }
        print(context, &records, || {
            let mut table = Table::new(["state", "when", "who", "what", "changed", "why"]);
            for record in &records {
                table.row([
                    record.number.to_string().into(),
                    record.at.to_string().into(),
                    (&record.who).into(),
                    Cell::new(&record.what).style(if record.what == "by hand" { Style::Warn } else { Style::Plain }),
                    Cell::or_dash(Some(&record.subject).filter(|subject| !subject.is_empty())),
                    Cell::or_dash(record.why.as_ref()),
                ]);
            }
            table
        })?;
        Ok(Exit::Ok.into())
    }
}

fn find(history: &History, number: u64) -> anyhow::Result<Record> {
    history.record(number).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Ended::new(Exit::NothingMatched, format!("there is no state {number}; `wulf history` lists them")).into()
        }
        _ => anyhow::Error::new(error).context(format!("state {number}")),
    })
}

/// What a state says.
fn state(history: &History, number: u64) -> anyhow::Result<NodesFile> {
    find(history, number)?;
    let text = history.text(number).with_context(|| format!("state {number}"))?;
    let registry = Registry::read(&text, Defaults::default());
    Ok(registry.map_err(|problems| anyhow::anyhow!("state {number}: {problems}"))?.file().clone())
}

/// The number of the state before this one.
fn before(history: &History, number: u64) -> anyhow::Result<u64> {
    let records = history.records()?;
    let before = records.iter().rev().find(|record| record.number < number).map(|record| record.number);
    before.ok_or_else(|| Ended::new(Exit::NothingMatched, format!("no state before {number} is known")).into())
}

fn last(history: &History) -> anyhow::Result<u64> {
    let last = history.last()?.map(|record| record.number);
    last.ok_or_else(|| Ended::new(Exit::NothingMatched, "nothing was ever changed").into())
}

impl DiffCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config()?;
        let history = history(&config);
        let from = match self.from {
            Some(from) => from,
            None => before(&history, last(&history)?)?,
        };
        let later = match self.to {
            Some(to) => state(&history, to)?,
            None => Registry::load(&config.paths.nodes_file())?.file().clone(),
        };
        let changes = diff(&state(&history, from)?, &later);
        print(context, &changes, || grouped(&changes))?;
        Ok(Exit::Ok.into())
    }
}

impl UndoCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config()?;
        let history = history(&config);
        let path = config.paths.nodes_file();
        let readable = !matches!(Registry::load(&path), Err(RegistryError::Invalid { .. }));
        let number = match self.number {
            Some(number) => find(&history, number)?.number,
            None => last(&history)?,
        };
        // A file without the form of a registry is no state: what was recorded last is the one before it.
        let to = if readable || self.number.is_some() { before(&history, number)? } else { number };
        let text = history.text(to).with_context(|| format!("state {to}"))?;
        let editor = with_all(Editor::open_to_replace(&path, &text)?, &config)?;
        note(&format!("back to state {to}"));
        save(context, editor, &self.change.forced(), Doing::plainly("undo"))
    }
}
