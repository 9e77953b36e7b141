//! Whole boots: machines switched on, what is looked at on their way, and how they have to end.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use wulfpack_head::admin::TicketFor;
use wulfpack_head::fleet::{BootReport, BootState, NodeStatus};
use wulfpack_shared::wire::Phase;

use super::{Cluster, IMAGE, ImageSizes};
use crate::harness::{Machine, MachineSpec, Port, Rate, wait_for_all};

/// How long the head may take until it follows a change of the registry.
const FOLLOWS: Duration = Duration::from_secs(60);

/// What an agent may take of its node's memory beside the image while it fetches, in bytes.
pub const AGENT_MEMORY_MAX: u64 = 48 << 20;

/// Whether a node's last boot ended well.
pub fn is_ready(node: &NodeStatus) -> bool {
    matches!(node.state, Some(BootState::Ready | BootState::Degraded))
}

/// Whether a node holds more than one part in `parts` of its image.
pub fn holds(node: &NodeStatus, parts: u32) -> bool {
    node.total > 0 && node.held > node.total / parts
}

/// Whether the node with this name is there and as `wanted`.
pub fn is_there(nodes: &[NodeStatus], name: &str, wanted: impl Fn(&NodeStatus) -> bool) -> bool {
    nodes.iter().any(|node| node.name.as_str() == name && wanted(node))
}

/// Fails unless every phase of every boot has its time, no boot took more than one image (no chunk came twice), and no agent
/// more memory than [`AGENT_MEMORY_MAX`]. Machines whose firmware is iPXE load no boot program.
pub fn is_complete(report: &BootReport, sizes: &ImageSizes) -> Result<()> {
    for node in &report.nodes {
        for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Nbp) {
            let known = node.reached_s.get(&phase).copied().flatten().is_some();
            ensure!(known, "{}: {phase} is unknown", node.name);
        }
        let (moved, image) = (node.bytes_from_head + node.bytes_from_peers, sizes.image_bytes);
        ensure!(moved <= image + image / 50, "{} took {moved} bytes for an image of {image}", node.name);
        let peak = node.agent.with_context(|| format!("{} did not say what its agent used", node.name))?.memory_peak;
        ensure!((1..=AGENT_MEMORY_MAX).contains(&peak), "the agent of {} took {peak} bytes of memory", node.name);
    }
    Ok(())
}

impl Cluster {
    /// Switches all machines on.
    pub fn power_on_all(&self, spec: &MachineSpec) -> Result<Vec<Machine>> {
        (0..self.nodes.len()).map(|index| self.power_on(index, spec)).collect()
    }

    /// Waits until every machine lets root in, whoever is alive to say so.
    pub fn wait_logins(&self, machines: &[Machine], timeout: Duration) -> Result<()> {
        wait_for_all(&self.head.port.namespace, &self.nodes, timeout).with_context(|| {
            let ends: Vec<_> = machines.iter().map(|machine| machine.console().tail(10)).collect();
            ends.join("\n---\n")
        })?;
        for (index, port) in self.nodes.iter().enumerate() {
            let name = self.login(index, "hostname")?;
            ensure!(name.trim() == port.name, "{} calls itself {name:?}", port.name);
        }
        Ok(())
    }

    /// The end of a test: every machine lets root in, and everything is taken down.
    pub fn ends_well(self, machines: Vec<Machine>, timeout: Duration) -> Result<()> {
        self.wait_logins(&machines, timeout)?;
        drop(machines);
        self.succeeded();
        Ok(())
    }

    /// Plugs a host in that runs already: a node of the registry, with a ticket for `wulf-agent fetch`.
    pub fn add_host(&self, name: &str, rate: Rate) -> Result<(Port, String)> {
        let port = self.lab.process_port(name, Some(rate))?;
        self.head.add_nodes(std::slice::from_ref(&port), IMAGE)?;
        // The running head follows the file; a moment later it knows.
        self.head.wait_for(FOLLOWS, |nodes| is_there(nodes, name, |_| true))?;
        let ticket = self.head.ticket(TicketFor::Node(name.parse()?))?;
        Ok((port, ticket))
    }
}
