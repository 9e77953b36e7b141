//! What a run cost: CPU of the host, and bytes on a link.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::lab::Port;

/// Above this share of all cores a figure says more of the host than of the links.
const CPU_BOUND: f64 = 0.85;

/// CPU time of the host since the meter was started.
#[derive(Debug)]
pub struct CpuMeter {
    started: Instant,
    busy: f64,
    total: f64,
}

/// CPU time that was used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CpuUse {
    /// Core-seconds of work.
    pub seconds: f64,
    /// Share of all cores' time, from 0 to 1.
    pub busy: f64,
}

impl CpuUse {
    /// Whether the host was the limit.
    pub fn bound(self) -> bool {
        self.busy > CPU_BOUND
    }
}

impl CpuMeter {
    /// Starts to count.
    pub fn start() -> Result<Self> {
        let (busy, total) = ticks()?;
        Ok(Self { started: Instant::now(), busy, total })
    }

    /// What was used until now.
    pub fn read(&self) -> Result<CpuUse> {
        let (busy, total) = ticks()?;
        let (busy, total) = (busy - self.busy, (total - self.total).max(1.0));
        let cores = std::thread::available_parallelism()?.get() as f64;
        Ok(CpuUse { seconds: busy / total * self.started.elapsed().as_secs_f64() * cores, busy: busy / total })
    }
}

/// Busy and total ticks of all cores: the first line of /proc/stat, proc_stat(5).
fn ticks() -> Result<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; what follows is contained in the first two.
    let ticks: Vec<f64> = line.split_ascii_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
    let total: f64 = ticks.iter().sum();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((total - idle, total))
}

/// Bytes that left the far end of a port's link, with frame headers.
pub fn bytes_sent(port: &Port) -> Result<u64> {
    counter(port, "/sys/class/net/eth0/statistics/tx_bytes")
}

/// Bytes that reached the far end of a port's link, likewise.
pub fn bytes_received(port: &Port) -> Result<u64> {
    counter(port, "/sys/class/net/eth0/statistics/rx_bytes")
}

fn counter(port: &Port, path: &str) -> Result<u64> {
    let text = port.namespace.run("cat", &[path])?;
    text.trim().parse().with_context(|| format!("{path} says {text:?}"))
}
