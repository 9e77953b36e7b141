//! From nothing to a head that serves an image to registered machines.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use wulfpack_head::config::Config;
use wulfpack_head::fleet::NodeStatus;

use super::{ImageSizes, is_ready};
use crate::harness::{
    Flavour, Head, KeyPair, Lab, Login, Machine, MachineSpec, Port, Rate, debian_tar, login_command, machine_ports,
};

/// Name of the image that all nodes boot.
pub const IMAGE: &str = "debian";

/// What to prepare.
#[derive(Debug)]
pub struct ClusterSetup {
    /// For the path of the logs.
    pub name: &'static str,
    /// Machines.
    pub nodes: usize,
    /// Rate of every link, the head's too; `None` for no limit.
    pub rate: Option<Rate>,
    /// The image's kernel.
    pub flavour: Flavour,
    /// What more `wulf profile set default` is told.
    pub profile: &'static [&'static str],
    /// Changes the head's configuration.
    pub configure: fn(&mut Config),
    /// No IPv4 anywhere.
    pub only_ipv6: bool,
}

impl Default for ClusterSetup {
    fn default() -> Self {
        Self {
            name: "cluster",
            nodes: 1,
            rate: None,
            flavour: Flavour::Cloud,
            profile: &[],
            configure: |_| (),
            only_ipv6: false,
        }
    }
}

impl ClusterSetup {
    /// Machines whose links are slow enough that something can happen half-way.
    pub fn slow(name: &'static str, nodes: usize) -> Self {
        Self { name, nodes, rate: Some(Rate(50_000_000)), ..Self::default() }
    }
}

/// A head that serves, and ports for machines that it knows. Fields are dropped in this order.
#[derive(Debug)]
pub struct Cluster {
    /// The head.
    pub head: Head,
    /// The machines' places; the node there has the port's name.
    pub nodes: Vec<Port>,
    /// The key that every node accepts for root.
    pub key: KeyPair,
    /// Sizes of the image.
    pub sizes: ImageSizes,
    /// The network.
    pub lab: Lab,
    only_ipv6: bool,
}

impl Cluster {
    /// Makes network, image and registry, and starts the head. `say` is told what takes long.
    pub fn prepare(setup: &ClusterSetup, say: impl Fn(&str)) -> Result<Self> {
        say("a Debian root file system (mmdebstrap; kept for the next time)");
        let tar = debian_tar(setup.flavour)?;
        say("a network: one switch, a link for the head and for each machine");
        let mut lab = Lab::new(setup.name)?;
        let port = lab.head_port(setup.rate)?;
        let nodes = machine_ports(&lab, setup.nodes, setup.rate)?;
        let key = KeyPair::generate(lab.work(), "id")?;
        say("a head: wulf init, wulf image import, wulf image build");
        let mut head = Head::set_up(&lab, port, &key, (&tar, IMAGE), setup.configure)?;
        let sizes = ImageSizes::read(&head, IMAGE)?;
        if setup.only_ipv6 {
            head.port.only_ipv6()?;
            head.add_nodes6(&nodes, IMAGE)?;
        } else {
            head.add_nodes(&nodes, IMAGE)?;
        }
        if !setup.profile.is_empty() {
            head.wulf(&[&["profile", "set", "default"], setup.profile].concat())?;
        }
        say("wulf serve");
        head.serve()?;
        Ok(Self { head, nodes, key, sizes, lab, only_ipv6: setup.only_ipv6 })
    }

    /// Switches on the machine of node `index`.
    pub fn power_on(&self, index: usize, spec: &MachineSpec) -> Result<Machine> {
        let port = self.nodes.get(index).with_context(|| format!("there is no node {index}"))?;
        Machine::power_on(&self.lab, port, spec)
    }

    /// Waits until `count` nodes are ready.
    pub fn wait_ready(&self, count: usize, timeout: Duration) -> Result<Vec<NodeStatus>> {
        self.head.wait_for(timeout, |nodes| nodes.iter().filter(|node| is_ready(node)).count() >= count)
    }

    /// Runs a shell command as root on node `index`.
    pub fn login(&self, index: usize, script: &str) -> Result<String> {
        Login { from: &self.head.port, key: &self.key }.run(self.address(index)?, script)
    }

    /// How a person logs in to node `index`.
    pub fn login_command(&self, index: usize) -> Result<String> {
        Ok(login_command(&self.head.port, &self.key, self.address(index)?))
    }

    /// The address of node `index`.
    pub fn address(&self, index: usize) -> Result<IpAddr> {
        let port = self.nodes.get(index).with_context(|| format!("there is no node {index}"))?;
        Ok(if self.only_ipv6 { port.address6().into() } else { port.address().into() })
    }

    /// Takes everything down; the logs are of no interest.
    pub fn succeeded(self) {
        let Self { head, nodes, lab, .. } = self;
        drop((head, nodes));
        lab.succeeded();
    }
}
