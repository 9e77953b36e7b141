//! Machines that wait to become a node, and who has become which: what keeps two machines from one name, whoever asks which head.

use std::fmt::Debug;
use std::net::IpAddr;

use redb::{ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{BootId, Hash, Mac, NodeName, PublicKey};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::Inventory;

use super::tables::{CLAIMED, CLAIMS, Failure, PENDING, pack, unpack};
use super::{RedbStore, StoreError};

/// A machine that told what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingMachine {
    /// The interface that it booted from.
    pub mac: Mac,
    /// The key of its agent in this boot.
    pub key: PublicKey,
    /// This life of its agent.
    pub boot: BootId,
    /// The address that it last spoke from.
    pub from: IpAddr,
    /// Whether its network demands no administrator's word before a join token is given.
    pub trusted: bool,
    /// Hash of kernel and kernel arguments that it runs.
    pub runs: Hash,
    /// Version of the agent program.
    pub agent: String,
    /// What it is.
    pub inventory: Inventory,
    /// Whether it has listened for its switches long enough.
    pub complete: bool,
    /// A second key showed the same token: somebody may have read it.
    pub contested: bool,
    /// When it first told.
    pub first: UnixTime,
    /// When it was last heard.
    pub heard: UnixTime,
    /// Why it has not become a node by itself.
    pub note: String,
}

/// A machine that has become a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The node.
    pub node: NodeName,
    /// The interface that the machine boots from.
    pub mac: Mac,
    /// When.
    pub at: UnixTime,
    /// By whose word: a user's name, or a rule.
    pub how: String,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// They hold from now on.
    New,
    /// They held before.
    Again,
    /// This node has another machine, or this machine is another node.
    Taken(Claim),
}

/// State of discovery. Every operation is atomic and durable when it returns.
pub trait Discoveries: Send + Sync + Debug {
    /// Records a machine; a record of the same MAC address is replaced.
    fn put_pending(&self, machine: &PendingMachine) -> Result<(), StoreError>;

    /// Forgets machines.
    fn drop_pending(&self, macs: &[Mac]) -> Result<(), StoreError>;

    /// All machines.
    fn pending(&self) -> Result<Vec<PendingMachine>, StoreError>;

    /// Makes machines nodes, all of them or none: none where a node or a machine has another already.
    fn claim(&self, claims: &[Claim]) -> Result<Claimed, StoreError>;

    /// Takes the claims on these nodes away; those that there were.
    fn drop_claims(&self, nodes: &[NodeName]) -> Result<Vec<Claim>, StoreError>;

    /// All claims, by node.
    fn claims(&self) -> Result<Vec<Claim>, StoreError>;
}

/// Readers may count on every table.
pub(super) fn open_discoveries(write: &WriteTransaction) -> Result<(), Failure> {
    write.open_table(PENDING)?;
    write.open_table(CLAIMS)?;
    write.open_table(CLAIMED)?;
    Ok(())
}

impl Discoveries for RedbStore {
    fn put_pending(&self, machine: &PendingMachine) -> Result<(), StoreError> {
        self.update(|write| {
            write.open_table(PENDING)?.insert(&machine.mac.0, pack(machine)?.as_slice())?;
            Ok(())
        })
    }

    fn drop_pending(&self, macs: &[Mac]) -> Result<(), StoreError> {
        self.update(|write| {
            let mut table = write.open_table(PENDING)?;
            for mac in macs {
                table.remove(&mac.0)?;
            }
            Ok(())
        })
    }

    fn pending(&self) -> Result<Vec<PendingMachine>, StoreError> {
        self.read(|read| {
            let mut machines = vec![];
            for entry in read.open_table(PENDING)?.iter()? {
                machines.push(unpack(entry?.1.value())?);
            }
            Ok(machines)
        })
    }

    fn claim(&self, claims: &[Claim]) -> Result<Claimed, StoreError> {
        self.update(|write| {
            let (mut table, mut claimed) = (write.open_table(CLAIMS)?, write.open_table(CLAIMED)?);
            let mut fresh: Vec<&Claim> = vec![];
            for claim in claims {
                let by_mac = claimed.get(&claim.mac.0)?.map(|node| node.value().to_owned());
                let mut stored = vec![];
                for node in [Some(claim.node.as_str()), by_mac.as_deref()].into_iter().flatten() {
                    stored.extend(table.get(node)?.map(|value| unpack::<Claim>(value.value())).transpose()?);
                }
                // Nothing is written yet: two of the same request meet here.
                let same = |other: &&&Claim| other.node == claim.node || other.mac == claim.mac;
                stored.extend(fresh.iter().find(same).map(|other| (*other).clone()));
                match stored.into_iter().next() {
                    None => fresh.push(claim),
                    Some(other) if other.node == claim.node && other.mac == claim.mac => {}
                    Some(other) => return Ok(Claimed::Taken(other)),
                }
            }
            for claim in &fresh {
                table.insert(claim.node.as_str(), pack(claim)?.as_slice())?;
                claimed.insert(&claim.mac.0, claim.node.as_str())?;
            }
            Ok(if fresh.is_empty() { Claimed::Again } else { Claimed::New })
        })
    }

    fn drop_claims(&self, nodes: &[NodeName]) -> Result<Vec<Claim>, StoreError> {
        self.update(|write| {
            let (mut claims, mut claimed) = (write.open_table(CLAIMS)?, write.open_table(CLAIMED)?);
            let mut dropped = vec![];
            for node in nodes {
                let stored = claims.remove(node.as_str())?.map(|value| unpack::<Claim>(value.value())).transpose()?;
                if let Some(claim) = stored {
                    claimed.remove(&claim.mac.0)?;
                    dropped.push(claim);
                }
            }
            Ok(dropped)
        })
    }

    fn claims(&self) -> Result<Vec<Claim>, StoreError> {
        self.read(|read| {
            let mut claims = vec![];
            for entry in read.open_table(CLAIMS)?.iter()? {
                claims.push(unpack(entry?.1.value())?);
            }
            Ok(claims)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn claim(node: &str, mac: u8) -> Claim {
        Claim { node: node.parse().unwrap(), mac: Mac([2, 0, 0, 0, 0, mac]), at: UnixTime(1), how: "root".into() }
    }

    #[test]
    fn a_node_has_one_machine_and_a_machine_is_one_node() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let store = RedbStore::open(&path).unwrap();
        let try_for = |store: &RedbStore, claims: &[Claim]| store.claim(claims).unwrap();
        assert_eq!(try_for(&store, &[claim("n1", 1)]), Claimed::New);
        assert_eq!(try_for(&store, &[claim("n1", 1)]), Claimed::Again);
        assert_eq!(try_for(&store, &[claim("n1", 2)]), Claimed::Taken(claim("n1", 1)));
        assert_eq!(try_for(&store, &[claim("n2", 1)]), Claimed::Taken(claim("n1", 1)));
        assert_eq!(try_for(&store, &[claim("n3", 3), claim("n1", 4)]), Claimed::Taken(claim("n1", 1)));
        assert_eq!(try_for(&store, &[claim("n3", 3), claim("n3", 4)]), Claimed::Taken(claim("n3", 3)));
        assert_eq!(try_for(&store, &[claim("n3", 3), claim("n4", 3)]), Claimed::Taken(claim("n3", 3)));
        drop(store);
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.claims().unwrap(), [claim("n1", 1)], "also after a restart");
        let names = ["n1", "n9"].map(|name| name.parse().unwrap());
        assert_eq!(store.drop_claims(&names).unwrap(), [claim("n1", 1)]);
        assert_eq!(try_for(&store, &[claim("n2", 1), claim("n3", 3)]), Claimed::New);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]
        /// Whatever is claimed and given back: nodes and machines stay in pairs, and a refusal names the pair that is in the way.
        #[test]
        fn nodes_and_machines_stay_in_pairs(asks in proptest::collection::vec((0..4u8, 1..5u8, 1..5u8), 1..30)) {
            let dir = tempfile::tempdir().unwrap();
            let store = RedbStore::open(&dir.path().join("state")).unwrap();
            let mut pairs = std::collections::BTreeMap::new();
            for (what, node, mac) in asks {
                let name = format!("n{node}");
                if what == 0 {
                    let dropped = store.drop_claims(&[name.parse().unwrap()]).unwrap();
                    proptest::prop_assert_eq!(dropped.first().map(|claim| claim.mac), pairs.remove(&name));
                    continue;
                }
                let asked = claim(&name, mac);
                let in_way = pairs.iter().find(|(other, owner)| **other == name || **owner == asked.mac);
                match store.claim(std::slice::from_ref(&asked)).unwrap() {
                    Claimed::New => {
                        proptest::prop_assert!(in_way.is_none());
                        pairs.insert(name, asked.mac);
                    }
                    Claimed::Again => proptest::prop_assert_eq!(in_way, Some((&name, &asked.mac))),
                    Claimed::Taken(other) => {
                        let other_name = other.node.to_string();
                        proptest::prop_assert_eq!(pairs.get(&other_name), Some(&other.mac));
                        proptest::prop_assert!((other_name == name) != (other.mac == asked.mac));
                    }
                }
                let stored: Vec<_> = store.claims().unwrap().into_iter().map(|claim| (claim.node.to_string(), claim.mac)).collect();
                proptest::prop_assert_eq!(stored, pairs.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }

    /// Heads that share one store decide at the same moment.
    #[test]
    fn twenty_machines_that_want_one_name_at_once_are_told_of_the_one_that_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(RedbStore::open(&dir.path().join("state")).unwrap());
        let racers = (0..20).map(|mac| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.claim(&[claim("n1", mac)]).unwrap())
        });
        let racers: Vec<_> = racers.collect();
        let outcomes: Vec<Claimed> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        let [winner] = store.claims().unwrap().try_into().unwrap();
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Claimed::New).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Claimed::Taken(winner.clone())).count(), 19);
    }
}
