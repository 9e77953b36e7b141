//! Machines coming up, as it happens: a table on a terminal, a line per phase elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use wulfpack_head::fleet::{BootState, NodeStatus};
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
    pub(super) fn show(&mut self, nodes: &[NodeStatus]) {
        for row in &mut self.rows {
            let Some(node) = nodes.iter().find(|node| node.name.as_str() == row.node) else { continue };
            row.bar.set_length(u64::from(node.total.max(1)));
            row.bar.set_position(u64::from(node.held));
            let words = words(node);
            row.bar.set_message(words.clone());
            let step = step(node);
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
fn step(node: &NodeStatus) -> String {
    format!("{:?} {:?} {:?}", node.state, node.phase, node.message)
}

fn words(node: &NodeStatus) -> String {
    let what = match (node.state, node.phase) {
        (None, _) => "power".into(),
        (Some(BootState::Ready | BootState::Degraded), _) => "ready".into(),
        (_, Some(Phase::Fetch)) => {
            let mib = |bytes: u64| bytes >> 20;
            format!(
                "fetch: {} MiB from the head, {} MiB from peers",
                mib(node.bytes_from_head),
                mib(node.bytes_from_peers)
            )
        }
        (_, phase) => phase.map_or_else(String::new, |phase| phase.to_string()),
    };
    node.message.as_ref().map_or_else(|| what.clone(), |message| format!("{what}: {message}"))
}
