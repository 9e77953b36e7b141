//! The figures of one system, and how they are printed.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cluster::bound_s;
use crate::harness::{CpuUse, Rate};

/// One system on one network.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What distributed.
    pub system: String,
    /// To how many.
    pub nodes: usize,
    /// Rate of every link.
    pub rate: String,
    /// Bytes of the image.
    pub size: u64,
    /// Seconds from the start of the first until the last was complete.
    pub t_last_s: f64,
    /// The same for the median of all.
    pub t_median_s: f64,
    /// `t_last_s` over the bound T*.
    pub ratio: f64,
    /// Bytes that left the source's link, in copies of the image.
    pub head_egress_copies: f64,
    /// Core-seconds of the host for each GiB delivered.
    pub cpu_s_per_gib: f64,
    /// Share of the host's cores that was busy, 0 to 1.
    pub busy: f64,
    /// Largest resident set of one host's process, MiB; 0 where it was not measured.
    pub peak_rss_mib: f64,
    /// The host's processors were the limit, not the links.
    pub cpu_bound: bool,
    /// Runs of which this is the one with the median time.
    pub runs: usize,
    /// The longest of them.
    pub worst_s: f64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// Seconds from the start of the first until each was complete.
    pub(super) complete_s: Vec<f64>,
    pub(super) sent: u64,
    pub(super) cpu: CpuUse,
    pub(super) peak_rss: u64,
}

impl Row {
    pub(super) fn new(system: &str, rate: Rate, size: u64, measured: Measured) -> Self {
        let Measured { mut complete_s, sent, cpu, peak_rss } = measured;
        complete_s.sort_by(f64::total_cmp);
        let nodes = complete_s.len();
        let t_last_s = complete_s.last().copied().unwrap_or(f64::NAN);
        Self {
            system: system.into(),
            nodes,
            rate: rate.to_string(),
            size,
            t_last_s,
            t_median_s: complete_s.get(nodes / 2).copied().unwrap_or(f64::NAN),
            ratio: t_last_s / bound_s(size, nodes, rate),
            head_egress_copies: sent as f64 / size as f64,
            cpu_s_per_gib: cpu.seconds / (nodes as f64 * size as f64 / f64::from(1 << 30)),
            busy: cpu.busy,
            peak_rss_mib: peak_rss as f64 / f64::from(1 << 20),
            cpu_bound: cpu.bound(),
            runs: 1,
            worst_s: t_last_s,
        }
    }
}

/// The run with the median time.
pub(super) fn median(mut rows: Vec<Row>) -> Option<Row> {
    rows.sort_by(|a, b| a.t_last_s.total_cmp(&b.t_last_s));
    let (runs, worst_s) = (rows.len(), rows.last()?.t_last_s);
    let row = rows.into_iter().nth(runs / 2)?;
    Some(Row { runs, worst_s, ..row })
}

/// The table of all rows.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<14} {:>5} {:>8} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7} {:>10} {:>6} {:>9} {:>5}\n",
        "system",
        "nodes",
        "rate",
        "size MiB",
        "median s",
        "last s",
        "worst s",
        "T/T*",
        "copies",
        "CPU s/GiB",
        "CPU %",
        "peak MiB",
        "runs"
    );
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<14} {:>5} {:>8} {:>9.1} {:>9.2} {:>8.2} {:>8.2} {:>7.3} {:>7.2} {:>10.1} {:>6.0} {:>9} {:>5}{}",
            row.system,
            row.nodes,
            row.rate,
            row.size as f64 / f64::from(1 << 20),
            row.t_median_s,
            row.t_last_s,
            row.worst_s,
            row.ratio,
            row.head_egress_copies,
            row.cpu_s_per_gib,
            row.busy * 100.0,
            if row.peak_rss_mib > 0.0 { format!("{:.1}", row.peak_rss_mib) } else { "-".into() },
            row.runs,
            if row.cpu_bound { "  CPU-bound" } else { "" },
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_last_and_per_delivered_byte() {
        let cpu = CpuUse { seconds: 8.0, busy: 0.5 };
        let measured = Measured { complete_s: vec![3.0, 2.0, 2.5, 2.0], sent: 3 << 30, cpu, peak_rss: 10 << 20 };
        let row = Row::new("x", Rate(8 << 30), 1 << 30, measured);
        assert_eq!((row.nodes, row.t_last_s, row.t_median_s), (4, 3.0, 2.5));
        // T* is one second and two units of 1024.
        assert!((row.ratio - 3.0 / (1.0 + 2.0 / 1024.0)).abs() < 1e-9, "{row:?}");
        assert_eq!((row.head_egress_copies, row.cpu_s_per_gib, row.peak_rss_mib), (3.0, 2.0, 10.0));
        assert_eq!(table(std::slice::from_ref(&row)).lines().count(), 2);
        let run = |t_last_s| Row { t_last_s, ..row.clone() };
        let median = median(vec![run(5.0), run(1.0), run(2.0)]).unwrap();
        assert_eq!((median.t_last_s, median.worst_s, median.runs), (2.0, 5.0, 3));
    }
}
