//! A good neighbour: whether caps hold, and what a job loses beside a node that serves.
//!
//! The job and the node that serves have the first processor, what takes from it and the head have the others: on a cluster they would
//! be other machines.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cluster::Hosts;
use crate::harness::{Fetch, Process, Rate, bytes_received, bytes_sent, require};

const PATIENCE: Duration = Duration::from_secs(600);
const SEED: Duration = Duration::from_secs(3600);

/// One cap, or one job.
#[derive(Clone, Debug, Serialize)]
pub struct NeighbourRow {
    /// What is measured.
    pub what: String,
    /// What it may be: Mbit/s, or seconds of the job alone.
    pub expected: f64,
    /// What it was: Mbit/s, headers included, or seconds of the job beside the node.
    pub measured: f64,
    /// The second over the first.
    pub ratio: f64,
}

impl NeighbourRow {
    fn new(what: String, expected: f64, measured: f64) -> Self {
        Self { what, expected, measured, ratio: measured / expected }
    }
}

/// Measures both caps at this rate, then the job beside a node that serves at it.
pub fn neighbour(cap: Rate, mib: usize) -> Result<Vec<NeighbourRow>> {
    require(&["taskset", "nice"])?;
    let hosts = Hosts::prepare_sized("neighbour", 4, None, mib)?;
    let text = cap.to_string();
    let giver = ["nice", "-n", "19", "taskset", "-c", "0"];
    let seed = start(&hosts, 0, &giver, &["--upload", &text])?;
    seed.report(PATIENCE)?;
    let mbit = cap.0 as f64 / 1e6;
    let rate = |bytes: u64, since: Instant| bytes as f64 * 8.0 / 1e6 / since.elapsed().as_secs_f64();

    let (before, begun) = (bytes_sent(hosts.port(0)?)?, Instant::now());
    start(&hosts, 1, &["taskset", "-c", "1"], &[])?.report(PATIENCE)?;
    let up = rate(bytes_sent(hosts.port(0)?)? - before, begun);
    let mut rows = vec![NeighbourRow::new(format!("upload {cap}"), mbit, up)];

    let alone = job()?;
    let taker = start(&hosts, 2, &["taskset", "-c", "1"], &[])?;
    let beside = job()?;
    let ended = taker.process.console().text().contains("complete_s");
    anyhow::ensure!(!ended, "the transfer was over before the job: take a larger image");
    rows.push(NeighbourRow::new(format!("job beside {cap}"), alone, beside));
    taker.report(PATIENCE)?;

    let (before, begun) = (bytes_received(hosts.port(3)?)?, Instant::now());
    let last = start(&hosts, 3, &["taskset", "-c", "1"], &["--download", &text])?;
    last.report(PATIENCE)?;
    rows.push(NeighbourRow::new(
        format!("download {cap}"),
        mbit,
        rate(bytes_received(hosts.port(3)?)? - before, begun),
    ));
    drop((seed, taker, last));
    hosts.succeeded();
    Ok(rows)
}

fn start(hosts: &Hosts, index: usize, under: &[&str], more: &[&str]) -> Result<Fetch> {
    let more: Vec<&OsStr> = more.iter().map(OsStr::new).collect();
    Fetch::start_under(&hosts.lab, hosts.port(index)?, under, &hosts.ticket(index)?, SEED, &more)
}

/// Seconds that a fixed amount of work takes on the first processor.
fn job() -> Result<f64> {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", "sh", "-c", "i=0; while [ $i -lt 6000000 ]; do i=$((i+1)); done; echo over"]);
    let log = tempfile::NamedTempFile::new()?;
    let begun = Instant::now();
    let job = Process::start("job", command, log.path())?;
    job.console().wait_for("over", PATIENCE).context("the job")?;
    Ok(begun.elapsed().as_secs_f64())
}

/// The figures for people.
pub fn neighbour_table(rows: &[NeighbourRow]) -> String {
    let mut text = format!("{:<22} {:>10} {:>10} {:>7}\n", "what", "expected", "measured", "ratio");
    for row in rows {
        text += &format!("{:<22} {:>10.2} {:>10.2} {:>7.3}\n", row.what, row.expected, row.measured, row.ratio);
    }
    text
}
