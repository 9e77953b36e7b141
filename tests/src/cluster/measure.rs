//! One boot of a whole cluster, timed by the same instrument as the baseline.

use anyhow::{Context as _, Result};
use wulfpack_head::fleet::{BootReport, NodeReport};
use wulfpack_shared::wire::Phase;

use super::{Cluster, ClusterSetup, ImageSizes};
use crate::figures::{AgentFigures, BootFigures, BootSetup, MEMINFO_WHEN_STARTED, mem_available};
use crate::harness::{CpuMeter, MachineSpec, Rate, bytes_sent, wait_for_all};

/// Whether nodes may get the image from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// They may.
    On,
    /// The switch keeps their ports apart: everything comes from the head.
    Off,
}

/// Boots `setup.nodes` machines at a time, and times them to their SSH banner.
pub fn measure(setup: &BootSetup, peers: Peers) -> Result<BootFigures> {
    let cluster_setup = ClusterSetup { name: "bench", nodes: setup.nodes, rate: setup.rate, ..ClusterSetup::default() };
    let cluster = Cluster::prepare(&cluster_setup, |_| ())?;
    if peers == Peers::Off {
        cluster.nodes.iter().try_for_each(|port| cluster.lab.isolate(port))?;
    }
    let spec = MachineSpec { memory_mib: setup.memory_mib, ..MachineSpec::default() };
    let (cpu, sent) = (CpuMeter::start()?, bytes_sent(&cluster.head.port)?);
    let machines = (0..setup.nodes).map(|index| cluster.power_on(index, &spec)).collect::<Result<Vec<_>>>()?;
    let greeted = wait_for_all(&cluster.head.port.namespace, &cluster.nodes, setup.patience)?;
    let cpu = cpu.read()?;
    let sent = bytes_sent(&cluster.head.port)? - sent;
    let mem_available = (0..setup.nodes)
        .map(|index| mem_available(&cluster.login(index, MEMINFO_WHEN_STARTED)?))
        .collect::<Result<_>>()?;
    cluster.wait_ready(setup.nodes, setup.patience)?;
    let report = cluster.head.report()?;
    let first_on = machines.iter().map(|machine| machine.powered_on).min().context("no machine")?;
    let figures = BootFigures {
        how: match peers {
            Peers::On => "wulfpack".into(),
            Peers::Off => "wulfpack, peers off".into(),
        },
        nodes: setup.nodes,
        rate: setup.rate.map(|rate| rate.to_string()),
        ready_s: greeted.iter().map(|moment| (*moment - first_on).as_secs_f64()).collect(),
        mem_available,
        head_bytes_sent: sent,
        copies: Some(report.head_image_bytes_sent as f64 / cluster.sizes.image_bytes as f64),
        fetch_ratio: setup.rate.and_then(|rate| fetch_ratio(&report, &cluster.sizes, rate)),
        agents: report.nodes.iter().filter_map(agent).collect(),
        cpu,
    };
    drop(machines);
    cluster.succeeded();
    Ok(figures)
}

fn agent(node: &NodeReport) -> Option<AgentFigures> {
    let used = node.agent?;
    Some(AgentFigures {
        cpu_s: used.cpu_ms as f64 / 1000.0,
        memory_peak: used.memory_peak,
        wasted: node.bytes_wasted,
        cancelled: node.cancelled,
    })
}

/// The longest fetch phase over the bound for equal links (DESIGN.md, "Swarm"), in seconds each.
fn fetch_ratio(report: &BootReport, sizes: &ImageSizes, rate: Rate) -> Option<f64> {
    let longest = report.phases.get(&Phase::Fetch).filter(|fetch| fetch.known == report.nodes.len())?.max;
    Some(longest / bound_s(sizes.image_bytes, report.nodes.len(), rate))
}

/// `T* = (F/C)(1 + floor(log2 N)/M)` with `M = ceil(F / 1 MiB)`, in seconds.
pub fn bound_s(image_bytes: u64, nodes: usize, rate: Rate) -> f64 {
    let units = image_bytes.div_ceil(1 << 20).max(1) as f64;
    let rounds = f64::from(nodes.max(1).ilog2());
    image_bytes as f64 / rate.bytes_per_second() * (1.0 + rounds / units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_one_copy_and_a_hop_for_every_doubling() {
        let image = 100 << 20;
        let rate = Rate(8 * (1 << 20));
        assert!((bound_s(image, 1, rate) - 100.0).abs() < 1e-9);
        assert!((bound_s(image, 8, rate) - 103.0).abs() < 1e-9);
        assert!((bound_s(image, 15, rate) - 103.0).abs() < 1e-9);
    }
}
