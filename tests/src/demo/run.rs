//! The demo from beginning to end.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use wulfpack_head::fleet::BootState;
use wulfpack_shared::time::UnixTime;

use super::live::Live;
use super::report::{NodeReport, Report};
use crate::cluster::{Cluster, ClusterSetup, is_ready};
use crate::harness::{CpuMeter, Firmware, Machine, MachineSpec, Rate};

/// Which firmware the machines have.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Firmwares {
    /// All SeaBIOS.
    Bios,
    /// All UEFI.
    Uefi,
    /// One BIOS, one UEFI, and so on.
    Mixed,
}

impl Firmwares {
    fn of(self, index: usize) -> Firmware {
        match self {
            Self::Bios => Firmware::Bios,
            Self::Uefi => Firmware::Uefi,
            Self::Mixed if index.is_multiple_of(2) => Firmware::Bios,
            Self::Mixed => Firmware::Uefi,
        }
    }
}

/// What to show.
#[derive(Clone, Debug)]
pub struct Options {
    /// Machines.
    pub nodes: usize,
    /// Their firmware.
    pub firmware: Firmwares,
    /// Rate of every link.
    pub rate: Option<Rate>,
    /// Memory of each machine in MiB.
    pub memory_mib: u32,
}

fn say(text: &str) {
    // A demo whose terminal went away still ends with its exit code.
    drop(writeln!(std::io::stderr(), "== {text}"));
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_millis()).unwrap_or_default())
}

/// Boots all machines; hands over the report, and the cluster for who wants to look around in it.
pub fn run(options: &Options) -> Result<(Report, Cluster, Vec<Machine>)> {
    let setup = ClusterSetup { name: "demo", nodes: options.nodes, rate: options.rate, ..ClusterSetup::default() };
    let cluster = Cluster::prepare(&setup, say)?;
    let rate = options.rate.map_or_else(|| "no limit".into(), |rate| format!("{rate} each"));
    say(&format!("power on: {} machines, links {rate}", options.nodes));
    let cpu = CpuMeter::start()?;
    let mut machines = vec![];
    let mut powered_on = vec![];
    for index in 0..options.nodes {
        let firmware = options.firmware.of(index);
        let spec = MachineSpec { firmware, memory_mib: options.memory_mib, ..MachineSpec::default() };
        powered_on.push(now());
        machines.push(cluster.power_on(index, &spec)?);
    }
    let mut live = Live::new(cluster.nodes.iter().map(|port| port.name.clone()));
    let patience = Duration::from_secs(300 + 90 * options.nodes as u64);
    let ended = cluster.head.wait_for(patience, |nodes| {
        live.show(nodes);
        nodes.iter().filter(|node| is_ready(node)).count() == options.nodes
    });
    live.finish();
    let cpu = cpu.read()?;
    if let Err(error) = &ended {
        say(&format!("{error:#}"));
    }
    let boots = cluster.head.report().context("ask the head for its boot report")?;
    let nodes = cluster.nodes.iter().enumerate().map(|(index, port)| {
        let boot = boots.nodes.iter().find(|boot| boot.name.as_str() == port.name);
        let ready = boot.is_some_and(|boot| matches!(boot.state, BootState::Ready | BootState::Degraded));
        let login = ready && answers(&cluster, index, &port.name);
        NodeReport::new(&port.name, options.firmware.of(index), powered_on[index], boot, login)
    });
    let report = Report::new(nodes.collect(), cluster.sizes, boots.head_image_bytes_sent, cpu);
    Ok((report, cluster, machines))
}

/// Whether root can log in, and finds the node that it meant.
fn answers(cluster: &Cluster, index: usize, name: &str) -> bool {
    match cluster.login(index, "hostname") {
        Ok(answer) if answer.trim() == name => true,
        Ok(answer) => {
            say(&format!("{name} calls itself {:?}", answer.trim()));
            false
        }
        Err(error) => {
            say(&format!("{error:#}"));
            false
        }
    }
}
