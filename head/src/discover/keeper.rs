//! What has to be looked at when the registry changes, and from time to time.

use std::time::Duration;

use wulfpack_shared::id::NodeName;

use super::service::Discovery;
use crate::fleet::{Input, Severity};
use crate::join::Members;
use crate::registry::Snapshot;
use crate::store::{Claim, Member, PendingMachine, StoreError};

/// How often who was silent for long is forgotten.
const LOOK: Duration = Duration::from_secs(60);
/// A machine that was not heard for so long does not become a node by itself: it may be off.
const ALIVE: Duration = Duration::from_secs(180);
/// A claim on a node that the registry does not have: it is being written. After so long it is not.
const WRITING: Duration = Duration::from_secs(600);

/// What becomes of a claim, once the registry's file says this.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It holds.
    Holds,
    /// The file says the same.
    Written,
    /// The file says something else; why, for a person.
    Void(String),
}

pub(super) fn fate(claim: &Claim, file: &Snapshot, old: bool) -> Fate {
    let Claim { node, mac, .. } = claim;
    match (file.by_mac(*mac), file.node(node)) {
        (Some(owner), _) if owner.name == *node => Fate::Written,
        (Some(owner), _) => Fate::Void(format!("the registry says that {mac} is {}", owner.name)),
        (None, None) if old => Fate::Void(format!("node {node} is not in the registry")),
        (None, Some(known)) if known.vacancy().is_none() => {
            Fate::Void(format!("the registry gives node {node} another machine than {mac}"))
        }
        (None, _) => Fate::Holds,
    }
}

impl Discovery {
    /// Keeps the list and the claims as they should be, until the head ends.
    pub async fn keep(self, members: Members) {
        let mut nodes = self.0.nodes.clone();
        loop {
            let (service, members) = (self.clone(), members.clone());
            let kept = tokio::task::spawn_blocking(move || service.look(&members)).await;
            match kept {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "machines in discovery"),
                Err(error) => tracing::error!(%error, "machines in discovery"),
            }
            if let Ok(Err(_)) = tokio::time::timeout(LOOK, nodes.changed()).await {
                return;
            }
            nodes.mark_unchanged();
        }
    }

    /// One look.
    pub(super) fn look(&self, members: &Members) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let gone = self.list().expire(now);
        if !gone.is_empty() {
            self.0.store.drop_pending(&gone)?;
            self.changed();
        }
        self.settle(members)?;
        let snapshot = self.0.registry.both();
        let waits =
            |machine: &&PendingMachine| snapshot.by_mac(machine.mac).is_none() && now.distance(machine.heard) < ALIVE;
        let mut waiting: Vec<PendingMachine> = self.list().machines().filter(waits).cloned().collect();
        if waiting.is_empty() {
            return Ok(());
        }
        // Who came first is first.
        waiting.sort_by_key(|machine| (machine.first, machine.mac));
        let lists = self.read_lists();
        for machine in waiting {
            self.adopt_by_rule(&machine, &lists)?;
        }
        Ok(())
    }

    /// Drops claims that the registry's file has taken over, or says otherwise.
    fn settle(&self, members: &Members) -> Result<(), StoreError> {
        let (claims, file, now) = (self.0.registry.claims(), self.0.registry.file(), self.0.clock.now());
        let mut over: Vec<NodeName> = vec![];
        for claim in claims.values() {
            match fate(claim, &file, now > claim.at + WRITING) {
                Fate::Holds => continue,
                Fate::Written => {}
                Fate::Void(why) => {
                    let text = format!("{} does not become {} any more: {why}", claim.mac, claim.node);
                    self.0.fleet.tell(Input::Event { severity: Severity::Warning, node: None, text });
                    self.lock_out(members, claim)?;
                }
            }
            over.push(claim.node.clone());
        }
        if over.is_empty() {
            return Ok(());
        }
        self.0.store.drop_claims(&over)?;
        self.0.registry.follow(&*self.0.store)?;
        self.changed();
        Ok(())
    }

    /// A machine that has joined on a claim which is void now is no member any more.
    pub(super) fn lock_out(&self, members: &Members, claim: &Claim) -> Result<(), StoreError> {
        let last = self.0.fleet.look(|fleet| fleet.of(&claim.node).next_back().map(|boot| (boot.mac, boot.key)));
        let Some((Some(mac), Some(key))) = last else { return Ok(()) };
        if mac == claim.mac {
            let own = |member: &Member| member.key == key && member.name == claim.node;
            members.revoke_where(self.0.clock.now(), own)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::id::Mac;
    use wulfpack_shared::time::UnixTime;

    use super::*;
    use crate::registry::{Interface, Node};

    fn node(name: &str, mac: Option<u8>) -> Node {
        let interface = Interface {
            net: "default".into(),
            mac: mac.map(|last| Mac([2, 0, 0, 0, 0, last])),
            ..Interface::default()
        };
        Node { interfaces: vec![interface], primary: Some(0), ..Node::named(name.parse().unwrap()) }
    }

    #[test]
    fn what_the_administrator_writes_goes_before_a_claim() {
        let claim =
            Claim { node: "n1".parse().unwrap(), mac: Mac([2, 0, 0, 0, 0, 1]), at: UnixTime(0), how: "rule 1".into() };
        let of = |nodes: &[(&str, Option<u8>)], old| {
            fate(&claim, &Snapshot::new(nodes.iter().map(|(name, mac)| node(name, *mac))), old)
        };
        assert_eq!(of(&[("n1", None)], true), Fate::Holds);
        assert_eq!(of(&[("n1", Some(1))], false), Fate::Written);
        assert!(matches!(of(&[("n1", Some(2))], false), Fate::Void(_)), "another machine");
        assert!(matches!(of(&[("n1", None), ("n2", Some(1))], false), Fate::Void(_)), "another node");
        assert_eq!(of(&[], false), Fate::Holds, "it is being written");
        assert!(matches!(of(&[], true), Fate::Void(_)));
    }

    #[test]
    fn a_snapshot_with_claims_gives_no_machine_two_nodes_and_no_node_two_machines() {
        let file = Snapshot::new([
            node("n1", Some(1)),
            node("n2", None),
            node("n3", None),
            Node::named("n4".parse().unwrap()),
        ]);
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        let names = ["n1", "n2", "n3", "n4"].map(|name| name.parse::<NodeName>().unwrap());
        let [n1, n2, n3, n4] = &names;
        let both = file.with_machines([(n1, mac(9)), (n2, mac(2)), (n3, mac(2)), (n4, mac(4))]);
        let owner = |last| both.by_mac(mac(last)).map(|node| node.name.as_str().to_owned());
        assert_eq!(
            [owner(1), owner(9), owner(2), owner(4)],
            [Some("n1".into()), None, Some("n2".into()), Some("n4".into())]
        );
        assert_eq!(both.node(n3).unwrap().vacancy(), Some("default"));
        let made = both.node(n4).unwrap();
        assert_eq!((made.primary().unwrap().mac, made.vacancy()), (Some(mac(4)), None));
        assert!(both.node(n2).unwrap().interface(mac(2)).is_some());
    }
}
