//! `wulf serve`, and `wulf-agent fetch` on every host. Joining is part of the time.

use std::time::Duration;

use anyhow::Result;

use super::Contest;
use super::row::{Measured, Row};
use crate::cluster::Hosts;
use crate::harness::{CpuMeter, Fetch, bytes_sent};

/// Longer than any run: hosts that are complete go on serving until all are.
const SEED: Duration = Duration::from_secs(3600);

pub(super) fn run(contest: &Contest, hosts: Hosts) -> Result<Row> {
    let tickets = (0..hosts.ports.len()).map(|index| hosts.ticket(index)).collect::<Result<Vec<_>>>()?;
    let (cpu, sent) = (CpuMeter::start()?, bytes_sent(&hosts.head.port)?);
    let starts = hosts.ports.iter().zip(&tickets);
    let fetches =
        starts.map(|(port, ticket)| Fetch::start(&hosts.lab, port, ticket, SEED)).collect::<Result<Vec<_>>>()?;
    let mut complete_s = vec![];
    let (mut size, mut first) = (0, None);
    for fetch in &fetches {
        let report = fetch.report(contest.patience())?;
        let begun = *first.get_or_insert(fetch.started);
        complete_s.push((fetch.started - begun).as_secs_f64() + report.complete_s);
        size = report.bytes;
    }
    let (cpu, sent) = (cpu.read()?, bytes_sent(&hosts.head.port)? - sent);
    let peak_rss = fetches.iter().filter_map(|fetch| fetch.process.peak_rss().ok()).max().unwrap_or_default();
    drop(fetches);
    hosts.succeeded();
    Ok(Row::new("wulfpack", contest.rate, size, Measured { complete_s, sent, cpu, peak_rss }))
}
