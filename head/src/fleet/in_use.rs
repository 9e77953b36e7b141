//! Which image versions running nodes use. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{NodeName, PublicKey, VersionId};

use super::Fleet;

/// A version that somebody uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionUse {
    /// The version.
    pub version: VersionId,
    /// Nodes that run it, by name.
    pub nodes: Vec<NodeName>,
    /// Members of its swarm now, heads not counted: nodes and hosts with tickets.
    pub members: usize,
}

/// The versions in use: those that nodes joined for at their last boot, as long as the heads remember their membership, and those
/// that have a swarm. A node may be up for weeks without a word, so its silence says nothing.
pub fn versions_in_use(
    fleet: &Fleet,
    is_member: impl Fn(&PublicKey) -> bool,
    swarms: impl IntoIterator<Item = (VersionId, usize)>,
) -> Vec<VersionUse> {
    let mut uses: BTreeMap<VersionId, (Vec<NodeName>, usize)> = BTreeMap::new();
    for boot in fleet.latest() {
        if let (Some(version), Some(key)) = (boot.image, &boot.key)
            && is_member(key)
        {
            uses.entry(version).or_default().0.push(boot.node.clone());
        }
    }
    for (version, members) in swarms {
        uses.entry(version).or_default().1 += members;
    }
    uses.into_iter().map(|(version, (nodes, members))| VersionUse { version, nodes, members }).collect()
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::time::UnixTime;

    use super::*;
    use crate::fleet::BootRecord;

    fn boot(node: &str, started: u64, version: Option<u8>) -> BootRecord {
        let mut record = BootRecord::new(node.parse().unwrap(), UnixTime(started));
        record.image = version.map(|byte| VersionId([byte; 32]));
        record.key = version.map(|byte| PublicKey([byte; 32]));
        record
    }

    #[test]
    fn the_last_boot_of_each_member_and_every_swarm_count() {
        let boots = [boot("n1", 1, Some(1)), boot("n1", 2, Some(2)), boot("n2", 1, Some(2)), boot("n3", 1, Some(3))];
        let fleet = Fleet::new(boots.into_iter().chain([boot("n4", 1, None)]));
        let swarms = [(VersionId([2; 32]), 5), (VersionId([4; 32]), 1)];
        let uses = versions_in_use(&fleet, |key| key.0 != [3; 32], swarms);
        let shown: Vec<_> = uses.iter().map(|used| (used.version.0[0], used.nodes.len(), used.members)).collect();
        assert_eq!(shown, [(2, 2, 5), (4, 0, 1)], "n1 left version 1, n3 is no member, n4 has not joined");
    }
}
