//! What the user sees while an image arrives: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use wulfpack_shared::image::Header;
use wulfpack_shared::wire::SwarmSummary;

use super::report::human;

/// Where there is no terminal, a line is written so often.
const LINE: Duration = Duration::from_secs(5);

/// Shows how far a fetch is.
#[derive(Debug)]
pub(super) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Into a log.
    Lines {
        /// When the next line is due.
        next: Instant,
    },
}

impl Progress {
    pub(super) fn new(header: &Header) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines { next: Instant::now() + LINE };
        }
        let bar = ProgressBar::new(header.blob.len).with_prefix(header.name.to_string());
        let style =
            ProgressStyle::with_template("{prefix} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}");
        Self::Bar(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Shows the counters; `resumed` bytes were there before.
    pub(super) fn show(&mut self, summary: &SwarmSummary, resumed: u64) {
        let bytes = resumed + summary.from_heads + summary.from_peers;
        let SwarmSummary { held, total, peers, from_peers, .. } = summary;
        match self {
            Self::Bar(bar) => {
                bar.set_position(bytes.min(bar.length().unwrap_or(u64::MAX)));
                bar.set_message(format!("{} from peers, {peers} connected", human(*from_peers)));
            }
            Self::Lines { next } if Instant::now() >= *next => {
                *next = Instant::now() + LINE;
                let from_peers = human(*from_peers);
                say(&format!("{held} of {total} units, {from_peers} from peers, {peers} connected"));
            }
            Self::Lines { .. } => {}
        }
    }

    /// Tells something besides.
    pub(super) fn tell(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines { .. } => say(text),
        }
    }

    /// Takes the bar away.
    pub(super) fn done(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Standard error may be closed; nobody reads it then.
pub(super) fn say(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}
