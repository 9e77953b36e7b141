//! How fast programs start from a node's running root (REAL-CLUSTERS rule 28).

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Cluster, ClusterSetup};
use crate::harness::MachineSpec;

/// Memory of the machine in MiB: enough for a root that is copied into it whole.
const MEMORY_MIB: u32 = 3072;
/// How long the machine may take to boot.
const BOOT: Duration = Duration::from_secs(400);

/// What one root takes to start processes.
#[derive(Clone, Debug, Serialize)]
pub struct RootFigures {
    /// The root mode.
    pub root: &'static str,
    /// Processes that start at once.
    pub processes: u32,
    /// Seconds until the last has ended, with nothing of the root in the page cache; the median.
    pub cold_s: f64,
    /// The same, right afterwards; the median.
    pub warm_s: f64,
}

/// Boots a machine with this root mode and times the start of so many processes at once, `runs` times each.
///
/// # Errors
/// The machine does not boot, or a process fails.
pub fn measure_root(root: &'static str, processes: &[u32], runs: u32) -> Result<Vec<RootFigures>> {
    let profile: &'static [&'static str] = match root {
        "tmpfs" => &["--root", "tmpfs"],
        _ => &["--root", "overlay"],
    };
    let setup = ClusterSetup { name: "root", profile, ..ClusterSetup::default() };
    let cluster = Cluster::prepare(&setup, |_| ())?;
    let machine = cluster.power_on(0, &MachineSpec { memory_mib: MEMORY_MIB, ..MachineSpec::default() })?;
    cluster.wait_ready(1, BOOT).with_context(|| format!("its console ends: {}", machine.console().tail(25)))?;
    let rows = processes.iter().map(|count| row(&cluster, root, *count, runs)).collect();
    drop(machine);
    cluster.succeeded();
    rows
}

/// Perl with its library, and tar: programs with an interpreter's many small files and a few shared libraries. Each line of the
/// output is the seconds of one run, cold and warm in turn.
fn script(processes: u32, runs: u32) -> String {
    format!(
        r#"set -e
start() {{
    begin=$(cut -d ' ' -f 1 /proc/uptime)
    for i in $(seq {processes}); do
        (perl -MPOSIX -MFile::Spec -MIO::Socket -e 'exit 0' && tar --version >/dev/null) & pids="$pids $!"
    done
    for pid in $pids; do wait "$pid"; done; pids=
    end=$(cut -d ' ' -f 1 /proc/uptime)
    awk "BEGIN {{print $end - $begin}}"
}}
systemctl is-system-running --wait >/dev/null || true
for run in $(seq {runs}); do
    sync; echo 3 > /proc/sys/vm/drop_caches
    start; start
done"#
    )
}

fn row(cluster: &Cluster, root: &'static str, processes: u32, runs: u32) -> Result<RootFigures> {
    let text = cluster.login(0, &script(processes, runs))?;
    let times = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
    let times = times.with_context(|| format!("read the times {text:?}"))?;
    let median = |first: usize| {
        let mut own: Vec<f64> = times.iter().copied().skip(first).step_by(2).collect();
        own.sort_by(f64::total_cmp);
        own.get(own.len() / 2).copied().context("no times")
    };
    Ok(RootFigures { root, processes, cold_s: median(0)?, warm_s: median(1)? })
}

/// The table of all rows.
pub fn root_table(rows: &[RootFigures]) -> String {
    let mut text = format!("{:<8} {:>9} {:>8} {:>8}\n", "root", "processes", "cold s", "warm s");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<8} {:>9} {:>8.2} {:>8.2}", row.root, row.processes, row.cold_s, row.warm_s);
    }
    text
}
