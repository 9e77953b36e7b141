//! One boot of the baseline, timed.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Archive, Server};
use crate::figures::{BootFigures, BootSetup, MEMINFO_WHEN_STARTED, mem_available as available};
use crate::harness::{
    CpuMeter, Flavour, KeyPair, Lab, Login, MachineSpec, bytes_sent, debian_tar, machine_ports, power_on_all,
    wait_for_all,
};

/// Boots `setup.nodes` machines at a time from one cpio.gz, and times them to their SSH banner.
pub fn measure(setup: &BootSetup) -> Result<BootFigures> {
    let mut lab = Lab::new("baseline")?;
    let head = lab.head_port(setup.rate)?;
    let nodes = machine_ports(&lab, setup.nodes, setup.rate)?;
    let key = KeyPair::generate(lab.work(), "id")?;
    let archive = Archive::of(&debian_tar(Flavour::Cloud)?)?;
    let server = Server::start(&lab, &head, &nodes, &archive, &key)?;
    let (cpu, sent) = (CpuMeter::start()?, bytes_sent(&head)?);
    let machines =
        power_on_all(&lab, &nodes, |_| MachineSpec { memory_mib: setup.memory_mib, ..MachineSpec::default() })?;
    let greeted = wait_for_all(&head.namespace, &nodes, setup.patience)?;
    let cpu = cpu.read()?;
    let sent = bytes_sent(&head)? - sent;
    let login = Login { from: &head, key: &key };
    let mem_available = nodes
        .iter()
        .map(|node| available(&login.run(node.address().into(), MEMINFO_WHEN_STARTED)?))
        .collect::<Result<_>>()?;
    let first_on = machines.iter().map(|machine| machine.powered_on).min().context("no machine")?;
    drop((machines, server));
    lab.succeeded();
    Ok(BootFigures {
        how: "cpio.gz from nginx".into(),
        nodes: setup.nodes,
        rate: setup.rate.map(|rate| rate.to_string()),
        ready_s: greeted.iter().map(|moment| (*moment - first_on).as_secs_f64()).collect(),
        mem_available,
        head_bytes_sent: sent,
        copies: None,
        fetch_ratio: None,
        agents: vec![],
        cpu,
    })
}

/// How long a boot of this size may take before it counts as failed.
pub fn patience(nodes: usize) -> Duration {
    Duration::from_secs(240 + 60 * nodes as u64)
}
