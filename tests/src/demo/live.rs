//! Machines coming up, as it happens: a table on a terminal, a line per phase elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use wulfpack_head::fleet::{BootRecord, BootState};
use wulfpack_shared::wire::Phase;

/// Shows boots.
#[derive(Debug)]
pub(super) struct Live {
    rows: Vec<Row>,
    started: Instant,
    terminal: bool,
}

#[derive(Debug)]
struct Row {
    node: String,
    bar: ProgressBar,
    last: Option<String>,
}

impl Live {
    /// A row for each of these nodes.
    pub(super) fn new(nodes: impl IntoIterator<Item = String>) -> Self {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:8} {bar:24} {percent:>3} %  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let rows = nodes.into_iter().map(|node| {
            let bar = all.add(ProgressBar::new(0).with_style(style.clone()).with_prefix(node.clone()));
            bar.set_message("power");
            Row { node, bar, last: None }
        });
        Self { rows: rows.collect(), started: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    /// Shows how things stand.
    pub(super) fn show(&mut self, records: &[BootRecord]) {
        for row in &mut self.rows {
            let Some(record) = records.iter().find(|record| record.node.as_str() == row.node) else { continue };
            let swarm = record.swarm.unwrap_or_default();
            row.bar.set_length(u64::from(swarm.total.max(1)));
            row.bar.set_position(u64::from(swarm.held));
            let words = words(record);
            row.bar.set_message(words.clone());
            let step = step(record);
            if row.last.as_ref() != Some(&step) {
                if !self.terminal {
                    let seconds = self.started.elapsed().as_secs_f64();
                    // A demo whose terminal went away still ends with its exit code.
                    drop(writeln!(std::io::stderr(), "{seconds:6.1} s  {:<8} {words}", row.node));
                }
                row.last = Some(step);
            }
        }
    }

    /// Leaves the table as it is.
    pub(super) fn finish(&self) {
        for row in &self.rows {
            row.bar.abandon();
        }
    }
}

/// What is worth a new line when it changes.
fn step(record: &BootRecord) -> String {
    format!("{:?} {:?} {}", record.state(), record.last_phase(), record.failures.len())
}

fn words(record: &BootRecord) -> String {
    match (record.state(), record.failures.last()) {
        (BootState::Ready, _) => "ready".into(),
        (BootState::Degraded, _) => format!("ready, but failed: {}", record.failed_units.join(" ")),
        (BootState::Failed, Some(failure)) => format!("{} failed: {}", failure.phase, failure.reason),
        _ => match record.phase() {
            Phase::Fetch => {
                let swarm = record.swarm.unwrap_or_default();
                format!("fetch: {} peers, {} MiB from them", swarm.peers, swarm.from_peers >> 20)
            }
            phase => phase.to_string(),
        },
    }
}
