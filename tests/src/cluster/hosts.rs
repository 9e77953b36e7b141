//! A head, and hosts that run already: members of the swarm without a network boot.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use wulfpack_head::admin::TicketFor;
use wulfpack_head::image::Library;

use super::IMAGE;
use crate::harness::{Fetch, Flavour, Head, KeyPair, Lab, Port, Rate, debian_tar, sized_root};

/// See the file's head. Fields are dropped in this order.
#[derive(Debug)]
pub struct Hosts {
    /// The head; it serves.
    pub head: Head,
    /// The hosts' places; the node there has the port's name.
    pub ports: Vec<Port>,
    /// The network.
    pub lab: Lab,
}

impl Hosts {
    /// Makes the network, and a head that knows `count` hosts. Every link has `rate`, the head's too.
    pub fn prepare(name: &str, count: usize, rate: Option<Rate>) -> Result<Self> {
        Self::prepare_with(name, count, rate, &debian_tar(Flavour::Cloud)?)
    }

    /// The same with an image of `mib` MiB that do not get smaller: for links, not for machines.
    pub fn prepare_sized(name: &str, count: usize, rate: Option<Rate>, mib: usize) -> Result<Self> {
        Self::prepare_with(name, count, rate, &sized_root(mib)?)
    }

    fn prepare_with(name: &str, count: usize, rate: Option<Rate>, source: &Path) -> Result<Self> {
        let mut lab = Lab::new(name)?;
        let port = lab.head_port(rate)?;
        let ports =
            (1..=count).map(|number| lab.process_port(&format!("n{number}"), rate)).collect::<Result<Vec<_>>>()?;
        let key = KeyPair::generate(lab.work(), "id")?;
        let mut head = Head::set_up(&lab, port, &key, (source, IMAGE), |_| ())?;
        head.add_nodes(&ports, IMAGE)?;
        head.serve()?;
        Ok(Self { head, ports, lab })
    }

    /// A ticket for host `index`.
    pub fn ticket(&self, index: usize) -> Result<String> {
        self.head.ticket(TicketFor::Node(self.port(index)?.name.parse()?))
    }

    /// Starts a fetch on host `index` with a ticket of its own; once complete it serves for `seed`.
    pub fn fetch(&self, index: usize, seed: Duration) -> Result<Fetch> {
        Fetch::start(&self.lab, self.port(index)?, &self.ticket(index)?, seed)
    }

    /// Starts one on every host, all complete hosts go on serving.
    pub fn fetch_all(&self) -> Result<Vec<Fetch>> {
        (0..self.ports.len()).map(|index| self.fetch(index, Duration::from_secs(3600))).collect()
    }

    /// The place of host `index`.
    pub fn port(&self, index: usize) -> Result<&Port> {
        self.ports.get(index).with_context(|| format!("there is no host {index}"))
    }

    /// The image as the head built it.
    pub fn blob(&self) -> Result<PathBuf> {
        Self::blob_of(&self.head)
    }

    /// The image as this head built it.
    pub fn blob_of(head: &Head) -> Result<PathBuf> {
        Ok(Library::open(head.paths().images())?.active(&IMAGE.parse()?)?.blob())
    }

    /// Takes everything down; the logs are of no interest.
    pub fn succeeded(self) {
        let Self { head, ports, lab } = self;
        drop((head, ports));
        lab.succeeded();
    }
}
