//! The figures of one measured boot, and how they are printed.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::harness::{CpuUse, Rate};

/// What is booted for one row of the table.
#[derive(Clone, Debug)]
pub struct BootSetup {
    /// Machines that are switched on together.
    pub nodes: usize,
    /// Rate of every link, the head's too; `None` for links without a limit.
    pub rate: Option<Rate>,
    /// Memory of each machine in MiB.
    pub memory_mib: u32,
    /// How long it may take before it counts as failed.
    pub patience: Duration,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct BootFigures {
    /// What booted them.
    pub how: String,
    /// Machines.
    pub nodes: usize,
    /// Rate of every link.
    pub rate: Option<String>,
    /// Seconds from power-on of the first to the SSH banner of each.
    pub ready_s: Vec<f64>,
    /// MemAvailable in bytes, when nothing is being started any more.
    pub mem_available: Vec<u64>,
    /// Bytes that left the head's interface meanwhile.
    pub head_bytes_sent: u64,
    /// Image bytes that the head sent, in copies of the image; `None` where the system has no such count.
    pub copies: Option<f64>,
    /// The fetch phase of the last node over the bound T*; `None` where there is no such phase.
    pub fetch_ratio: Option<f64>,
    /// What the agents had used of their machines when the image was complete, and what had arrived in vain; empty where there
    /// are none.
    pub agents: Vec<AgentFigures>,
    /// CPU of the host.
    pub cpu: CpuUse,
}

/// What one agent had used when the image was complete.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AgentFigures {
    /// Processor time of the emulated machine in seconds.
    pub cpu_s: f64,
    /// The most memory that was resident at a time, in bytes; the image is no part of it.
    pub memory_peak: u64,
    /// Bytes of the image that arrived in vain.
    pub wasted: u64,
    /// Requests that were cancelled at their deadline.
    pub cancelled: u32,
}

impl BootFigures {
    /// Seconds until the last node was ready.
    pub fn makespan_s(&self) -> f64 {
        self.ready_s.iter().copied().fold(0.0, f64::max)
    }

    /// The smallest MemAvailable, in bytes.
    pub fn least_memory(&self) -> u64 {
        self.mem_available.iter().copied().min().unwrap_or_default()
    }
}

/// Shell command that prints /proc/meminfo once the system has started all that it starts: what runs only meanwhile would
/// else count in one boot and not in the other. systemd's verdict does not matter here.
pub const MEMINFO_WHEN_STARTED: &str = "systemctl is-system-running --wait >/dev/null; cat /proc/meminfo";

/// MemAvailable in bytes, from the text of /proc/meminfo.
pub fn mem_available(meminfo: &str) -> Result<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("no MemAvailable")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("read {line:?}"))?;
    Ok(kib * 1024)
}

/// The table of all rows. A row's ratio is its time over that of the first row with as many nodes and the same rate.
pub fn table(rows: &[BootFigures]) -> String {
    let mut text = format!(
        "{:<30} {:>5} {:>8} {:>8} {:>6} {:>10} {:>10} {:>7} {:>7} {:>6}\n",
        "boot", "nodes", "rate", "last s", "ratio", "avail MiB", "sent MB", "copies", "T/T*", "CPU %"
    );
    for row in rows {
        let first = rows.iter().find(|other| other.nodes == row.nodes && other.rate == row.rate).unwrap_or(row);
        let optional = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<30} {:>5} {:>8} {:>8.1} {:>6.2} {:>10} {:>10.0} {:>7} {:>7} {:>5.0}{}",
            row.how,
            row.nodes,
            row.rate.as_deref().unwrap_or("-"),
            row.makespan_s(),
            row.makespan_s() / first.makespan_s(),
            row.least_memory() >> 20,
            row.head_bytes_sent as f64 / 1e6,
            optional(row.copies),
            optional(row.fetch_ratio),
            row.cpu.busy * 100.0,
            if row.cpu.bound() { "*" } else { "" },
        );
    }
    if rows.iter().any(|row| row.cpu.bound()) {
        text.push_str("* the host's CPU, not the links, was the limit\n");
    }
    for row in rows.iter().filter(|row| !row.agents.is_empty()) {
        let most = |figure: fn(&AgentFigures) -> f64| row.agents.iter().map(figure).fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "{}, {} nodes: until its image was complete an agent used at most {:.1} s of processor and {:.1} MiB of memory; \
             {:.1} MiB arrived in vain, {} requests missed their deadline",
            row.how,
            row.nodes,
            most(|agent| agent.cpu_s),
            most(|agent| agent.memory_peak as f64 / f64::from(1 << 20)),
            row.agents.iter().map(|agent| agent.wasted).sum::<u64>() as f64 / f64::from(1 << 20),
            row.agents.iter().map(|agent| agent.cancelled).sum::<u32>(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(how: &str, nodes: usize, seconds: f64) -> BootFigures {
        BootFigures {
            how: how.into(),
            nodes,
            rate: None,
            ready_s: vec![1.0, seconds],
            mem_available: vec![3 << 20, 2 << 20],
            head_bytes_sent: 5_000_000,
            copies: Some(1.125),
            fetch_ratio: None,
            agents: vec![],
            cpu: CpuUse { seconds: 1.0, busy: 0.9 },
        }
    }

    #[test]
    fn ratios_compare_rows_of_the_same_size() {
        let text = table(&[row("old", 4, 100.0), row("new", 4, 60.0), row("old", 8, 200.0)]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[2].contains(" 60.0   0.60          2          5    1.12"), "{text}");
        assert!(lines[3].contains("200.0   1.00"), "{text}");
        assert!(lines[4].starts_with("* the host"), "{text}");
    }

    #[test]
    fn meminfo_is_read() {
        assert_eq!(mem_available("MemTotal: 5 kB\nMemAvailable:    1024 kB\n").unwrap(), 1 << 20);
        assert!(mem_available("MemTotal: 5 kB").is_err());
    }
}
