//! Nodes that are up, for those of their rack that boot next.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wulfpack_shared::id::{NodeName, RackName, VersionId};

use crate::boot::neighbour_start;
use crate::fleet::{BootState, FleetHandle};
use crate::http::Neighbours;
use crate::registry::{Node, Snapshot};

/// How often all nodes are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Most that a script names.
const NAMED: usize = 3;

type Group = (Option<RackName>, VersionId);
type Groups = BTreeMap<Group, Vec<(NodeName, IpAddr)>>;

/// See the file's head.
#[derive(Debug)]
pub(super) struct ReadyNodes {
    fleet: FleetHandle,
    nodes: watch::Receiver<Arc<Snapshot>>,
    port: u16,
    seen: Mutex<(Option<Instant>, Groups)>,
}

impl ReadyNodes {
    pub(super) fn new(fleet: FleetHandle, nodes: watch::Receiver<Arc<Snapshot>>, port: u16) -> Self {
        Self { fleet, nodes, port, seen: Mutex::default() }
    }

    fn look(&self) -> Groups {
        let snapshot = Arc::clone(&self.nodes.borrow());
        let mut groups = Groups::new();
        self.fleet.look(|fleet| {
            for boot in fleet.latest().filter(|boot| matches!(boot.state(), BootState::Ready | BootState::Degraded)) {
                if let (Some(node), Some(version), Some(addr)) = (snapshot.node(&boot.node), boot.image, boot.addr) {
                    groups.entry((node.rack.clone(), version)).or_default().push((boot.node.clone(), addr));
                }
            }
        });
        groups
    }
}

impl Neighbours for ReadyNodes {
    fn of(&self, node: &Node, version: VersionId, six: bool) -> Vec<SocketAddr> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0.is_none_or(|at| at.elapsed() >= LOOK) {
            *seen = (Some(Instant::now()), self.look());
        }
        let Some(group) = seen.1.get(&(node.rack.clone(), version)) else { return vec![] };
        let fit: Vec<_> = group.iter().filter(|(name, ip)| *name != node.name && ip.is_ipv6() == six).collect();
        fit.iter()
            .cycle()
            .skip(neighbour_start(&node.name, fit.len()))
            .take(NAMED.min(fit.len()))
            .map(|(_, ip)| SocketAddr::new(*ip, self.port))
            .collect()
    }
}
