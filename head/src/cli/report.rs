//! `wulf boot report`: how long each phase of each node's boot took, and where the bytes came from.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use wulfpack_shared::wire::Phase;

use super::nodes::{NODESETS, chosen_names};
use super::running::ask;
use super::trace::TraceArgs;
use super::{Cell, Context, OutputFormat, Style, Table, print, print_table, write_out};
use crate::admin::ReportRequest;
use crate::exit::{Ended, Exit};
use crate::fleet::{BootReport, BootState, NodeReport};

/// What became of the nodes' boots.
#[derive(Debug, Subcommand)]
pub enum BootCommand {
    /// How long each phase took, and where the bytes came from.
    #[command(after_long_help = NODESETS)]
    Report(ReportArgs),
    /// The last boots of a machine packet by packet, with what was decided and why; also of machines that got nowhere.
    Trace(TraceArgs),
}

/// Arguments of `wulf boot report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Nodes; all if none are named.
    #[arg(value_name = "NODESET")]
    names: Vec<String>,
    /// The last so many boots of each node.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3), value_name = "N")]
    last: u8,
}

impl BootCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let args = match self {
            Self::Report(args) => args,
            Self::Trace(args) => return args.run(context),
        };
        let named = !args.names.is_empty();
        let nodes = named.then(|| chosen_names(context, &args.names)).transpose()?;
        let request = ReportRequest { nodes, boots: args.last.into() };
        let report: BootReport = ask(context, async |client| Ok(client.post("/v1/report", &request).await?))?;
        if report.nodes.is_empty() && !args.names.is_empty() {
            return Err(Ended::new(Exit::NothingMatched, "the head has seen none of these nodes boot").into());
        }
        match context.output {
            OutputFormat::Table => {
                print_table(&table(&report))?;
                write_out(&footer(&report))?;
            }
            _ => print(context, &report, Table::pairs)?,
        }
        Ok(Exit::Ok.into())
    }
}

/// Seconds with one decimal; what nobody saw is `?`.
fn seconds(value: Option<f64>) -> Cell {
    value.map_or_else(|| Cell::new("?").style(Style::Dim), |value| Cell::new(format!("{value:.1}")))
}

pub(super) fn state_cell(state: Option<BootState>) -> Cell {
    let (text, style) = match state {
        None => ("-", Style::Dim),
        Some(BootState::Booting) => ("booting", Style::Plain),
        Some(BootState::Failed) => ("failed", Style::Bad),
        Some(BootState::Ready) => ("ready", Style::Good),
        Some(BootState::Degraded) => ("degraded", Style::Warn),
    };
    Cell::new(text).style(style)
}

fn row(table: &mut Table, name: Cell, state: Cell, phases: impl Fn(Phase) -> Cell, rest: [Cell; 3]) {
    let [d, n, s, k, j, f, m, o, p, r] = Phase::ALL.map(phases);
    let [total, head, peers] = rest;
    table.row([name, state, d, n, s, k, j, f, m, o, p, r, total, head, peers]);
}

fn table(report: &BootReport) -> Table {
    let mut table = Table::new([
        "node",
        "state",
        "dhcp",
        "nbp",
        "script",
        "kernel",
        "join",
        "fetch",
        "mount",
        "overlay",
        "pivot",
        "ready",
        "total s",
        "from head",
        "from peers",
    ]);
    for node in &report.nodes {
        let NodeReport { phases_s, reached_s, bytes_from_head, bytes_from_peers, .. } = node;
        let took = |phase| seconds(phases_s.get(&phase).copied().flatten());
        let bytes = |bytes: &u64| Cell::new(HumanBytes(*bytes).to_string());
        let rest =
            [seconds(reached_s.get(&Phase::Ready).copied().flatten()), bytes(bytes_from_head), bytes(bytes_from_peers)];
        row(&mut table, node.name.as_str().into(), state_cell(Some(node.state)), took, rest);
    }
    if report.nodes.len() > 1 {
        let none = || [Cell::default(), Cell::default(), Cell::default()];
        let known = |phase| report.phases.get(&phase);
        row(&mut table, "p50".into(), Cell::default(), |phase| seconds(known(phase).map(|stats| stats.p50)), none());
        row(&mut table, "p95".into(), Cell::default(), |phase| seconds(known(phase).map(|stats| stats.p95)), none());
        row(&mut table, "max".into(), Cell::default(), |phase| seconds(known(phase).map(|stats| stats.max)), none());
    }
    table
}

fn footer(report: &BootReport) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    if let Some(makespan) = report.makespan_s {
        _ = writeln!(text, "\nfirst word to last ready: {makespan:.1} s");
    }
    for image in &report.images {
        #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
        let copies = image.sent as f64 / image.bytes.max(1) as f64;
        let (sent, version) = (HumanBytes(image.sent), image.version);
        _ = writeln!(text, "head sent of {}@{version:.12} since it started: {sent}, {copies:.2} copies", image.image);
    }
    let boot = report.boot_bytes;
    let (nbp, kernel) = (HumanBytes(boot.nbp), HumanBytes(boot.kernel));
    _ = writeln!(text, "head sent for these boots: kernels and initramfs {kernel}, boot programs {nbp}");
    let agents = || report.nodes.iter().filter_map(|node| node.agent);
    if let (Some(cpu), Some(memory)) =
        (agents().map(|agent| agent.cpu_ms).max(), agents().map(|agent| agent.memory_peak).max())
    {
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        let (cpu, memory) = (cpu as f64 / 1000.0, HumanBytes(memory));
        _ = writeln!(
            text,
            "an agent took at most {cpu:.1} s of processor and {memory} of memory until its image was complete"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::time::UnixTime;

    use super::*;
    use crate::fleet::{AgentUse, BootRecord, ImageEgress};

    #[test]
    fn unknown_is_not_zero_and_egress_is_in_copies() {
        let mut record = BootRecord::new("n1".parse().unwrap(), UnixTime(0));
        record.stamped.insert(Phase::Dhcp, UnixTime(0));
        let egress =
            ImageEgress { image: "debian".parse().unwrap(), version: Default::default(), bytes: 100, sent: 130 };
        let report = BootReport::of([&record, &record], vec![egress]);
        let lines: Vec<_> = table(&report).render(false).lines().map(str::to_owned).collect();
        let cells: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(cells[..5], ["n1", "booting", "0.0", "?", "?"]);
        assert_eq!(lines.len(), 6);
        assert!(footer(&report).contains("1.30 copies"));
        assert!(!footer(&report).contains("an agent took"));
        record.used = Some(AgentUse { cpu_ms: 2500, memory_peak: 30 << 20 });
        let report = BootReport::of([&record], vec![]);
        assert!(footer(&report).contains("2.5 s of processor and 30.00 MiB of memory"), "{}", footer(&report));
    }
}
