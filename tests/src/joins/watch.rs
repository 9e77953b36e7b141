//! What is looked at while agents join.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::harness::Port;

/// How often the counter of bytes is read.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes that reached `eth0`, as /proc/net/dev has them (proc_pid_net(5)); of the namespace of the thread that reads.
fn received() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).context("there is no eth0")?;
    line.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).with_context(|| format!("read {line:?}"))
}

/// The longest time without a byte at this port until `over`, in seconds, and how many bytes there were.
pub(super) fn longest_stall(port: &Port, over: &AtomicBool) -> Result<(f64, u64)> {
    port.namespace.enter(|| {
        let first = received()?;
        let (mut last, mut since, mut longest) = (first, Instant::now(), Duration::ZERO);
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
            let now = received()?;
            longest = longest.max(since.elapsed());
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok((longest.as_secs_f64(), last - first))
    })?
}

/// Bytes that the kernel spends on sockets of both ends: slab, and what TCP holds in its queues (proc_meminfo(5), proc_pid_net(5)).
pub(super) fn kernel() -> Result<u64> {
    let number = |path: &str, line: &str, word: Option<&str>| -> Result<u64> {
        let text = fs::read_to_string(Path::new(path)).with_context(|| format!("read {path}"))?;
        let words =
            text.lines().find_map(|found| found.strip_prefix(line)).with_context(|| format!("no {line} in {path}"))?;
        let mut words = words.split_whitespace().skip_while(|found| word.is_some_and(|word| *found != word));
        let number = if word.is_some() { words.nth(1) } else { words.next() };
        number.and_then(|number| number.parse().ok()).with_context(|| format!("no number behind {line} in {path}"))
    };
    Ok(number("/proc/meminfo", "Slab:", None)? * 1024 + number("/proc/net/sockstat", "TCP:", Some("mem"))? * 4096)
}
