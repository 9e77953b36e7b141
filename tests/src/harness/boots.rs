//! A number of machines switched on together, and the moment at which each greets.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::lab::{Lab, Port};
use super::netns::Namespace;
use super::qemu::{Machine, MachineSpec};
use super::rate::Rate;
use super::ssh::wait_for_banner;

/// Plugs machines `n1`, `n2`, … in.
pub fn machine_ports(lab: &Lab, count: usize, rate: Option<Rate>) -> Result<Vec<Port>> {
    (1..=count).map(|number| lab.machine_port(&format!("n{number}"), rate)).collect()
}

/// Switches all of them on, in order.
pub fn power_on_all(lab: &Lab, ports: &[Port], spec: impl Fn(usize) -> MachineSpec) -> Result<Vec<Machine>> {
    ports.iter().enumerate().map(|(index, port)| Machine::power_on(lab, port, &spec(index))).collect()
}

/// Waits until every one of these ports greets with an SSH banner; the moments in their order.
pub fn wait_for_all(from: &Namespace, ports: &[Port], timeout: Duration) -> Result<Vec<Instant>> {
    std::thread::scope(|scope| {
        let waits: Vec<_> = ports
            .iter()
            .map(|port| scope.spawn(move || wait_for_banner(from, port.address().into(), timeout)))
            .collect();
        waits.into_iter().map(|wait| wait.join().map_err(|_| anyhow!("a wait for a banner panicked"))?).collect()
    })
}
