//! Tells running nodes to do something, waits, and shows how it went.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use wulfpack_shared::id::NodeName;
use wulfpack_shared::wire::OrderKind;

use super::nodes::folded;
use super::render::Style;
use super::running::ask;
use super::{Cell, Context, Table, note, print};
use crate::admin::{AdminClient, OrdersAnswer, OrdersRequest};
use crate::exit::Exit;
use crate::orders::{JobState, Pace, Progress};

/// How fast nodes are told, and how long the command waits for them.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct PaceFlags {
    /// Most nodes that are at it at the same time.
    #[arg(long, short, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    fanout: u32,
    /// Each node begins after a random time up to so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=600))]
    spread: u32,
    /// Nodes that have not done it after so many seconds are given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    /// Do not wait until they have done it.
    #[arg(long)]
    no_wait: bool,
}

impl PaceFlags {
    /// All nodes in the same moment.
    pub(super) const fn at_once(timeout: u32) -> Self {
        Self { fanout: u32::MAX, spread: 0, timeout, no_wait: false }
    }
}

/// Gives the order, and waits until every node has done it or never will.
pub(super) fn give(
    context: &Context,
    nodes: Vec<NodeName>,
    what: OrderKind,
    flags: PaceFlags,
) -> anyhow::Result<ExitCode> {
    let pace = Pace { at_once: flags.fanout, spread_ms: flags.spread * 1000, give_up_s: flags.timeout };
    let request = OrdersRequest { nodes, what, pace };
    let progress = ask(context, async |client| {
        let OrdersAnswer { id } = client.post("/v1/orders", &request).await?;
        let progress: Progress = client.get(&format!("/v1/orders/{id}")).await?;
        if flags.no_wait { Ok(progress) } else { until_over(&client, progress).await }
    })?;
    print(context, &progress, || table(&progress))?;
    let away: Vec<_> = in_state(&progress, |state| *state == JobState::Away);
    if !away.is_empty() {
        note(&format!("not listening now: {}", folded(&away)));
    }
    let bad = progress.nodes.values().any(|state| matches!(state, JobState::Failed(_) | JobState::GaveUp(_)));
    Ok(if bad { Exit::Failed } else { Exit::Ok }.into())
}

async fn until_over(client: &AdminClient, mut progress: Progress) -> anyhow::Result<Progress> {
    let bar = ProgressBar::new(progress.nodes.len() as u64);
    // The template is a constant; a mistake in it shows the default style.
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    while !progress.is_over() {
        let ended = in_state(&progress, JobState::is_final).len();
        bar.set_position(ended as u64);
        let count = |wanted: fn(&JobState) -> bool| in_state(&progress, wanted).len();
        let (sent, busy) =
            (count(|state| matches!(state, JobState::Sent)), count(|state| matches!(state, JobState::Busy(_))));
        let away = count(|state| matches!(state, JobState::Away));
        bar.set_message(format!("{sent} at it, {busy} busy, {away} away"));
        progress = client.get(&format!("/v1/orders/{}?since={}", progress.id, progress.version)).await?;
    }
    bar.finish_and_clear();
    Ok(progress)
}

fn in_state(progress: &Progress, wanted: impl Fn(&JobState) -> bool) -> Vec<&NodeName> {
    progress.nodes.iter().filter(|(_, state)| wanted(state)).map(|(node, _)| node).collect()
}

/// Nodes of which the same is to be said are one line.
fn table(progress: &Progress) -> Table {
    let mut table = Table::new(["nodes", "state", ""]);
    let mut seen: Vec<&JobState> = vec![];
    for state in progress.nodes.values() {
        if seen.contains(&state) {
            continue;
        }
        seen.push(state);
        let (word, style, text) = match state {
            JobState::Waiting => ("waiting", Style::Plain, ""),
            JobState::Away => ("away", Style::Warn, ""),
            JobState::Sent => ("sent", Style::Plain, ""),
            JobState::Busy(text) => ("busy", Style::Warn, text.as_str()),
            JobState::Done(text) => ("done", Style::Good, text.as_str()),
            JobState::Failed(text) => ("failed", Style::Bad, text.as_str()),
            JobState::GaveUp(text) => ("gave up", Style::Bad, text.as_str()),
        };
        let nodes = in_state(progress, |other| other == state);
        table.row([Cell::new(folded(&nodes)), Cell::new(word).style(style), Cell::new(super::log::printable(text))]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_which_the_same_is_to_be_said_are_one_line() {
        let done = || JobState::Done("2 files".into());
        let states = [("n1", done()), ("n2", JobState::Failed("x\u{1b}[2J".into())), ("n3", done())];
        let nodes = states.into_iter().map(|(name, state)| (name.parse().unwrap(), state)).collect();
        let progress = Progress { id: 1, version: 1, what: OrderKind::Resume, nodes };
        let text = table(&progress).render(false);
        assert!(text.contains("n[1,3]  done") && text.contains("2 files"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(text.lines().count(), 3);
    }
}
