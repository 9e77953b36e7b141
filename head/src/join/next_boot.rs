//! Boots that are known of before: those that were chosen for, and those that running nodes announce. Where a network demands an administrator's approval, a node that goes down to boot again
//! says so with its own key, and its next boot does not wait (REAL-CLUSTERS, rule 9).

use std::net::IpAddr;
use std::sync::Arc;

use wulfpack_shared::id::{Mac, NodeName};
use wulfpack_shared::identity::Role;
use wulfpack_shared::limits::TOKEN_LIFETIME;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{JoinRequest, Refusal, RefusalReason};

use super::Members;
use super::machine::Admission;
use super::service::{JoinService, busy, refusal};
use crate::fleet::{FleetHandle, Input};
use crate::registry::Node;
use crate::store::{AuditRecord, Member, NextBoot, Store, StoreError};

/// Boots that running nodes announce, each good for one boot. Clones share what is stored.
#[derive(Clone, Debug)]
pub struct NextBoots {
    store: Arc<dyn Store>,
    members: Members,
    fleet: FleetHandle,
}

impl NextBoots {
    /// Announcements that lie in `store`.
    pub fn new(store: Arc<dyn Store>, members: Members, fleet: FleetHandle) -> Self {
        Self { store, members, fleet }
    }

    /// Takes the word of a member that its node boots again; returns until when it counts. The interface is the one that the head
    /// saw the node boot from: the node cannot name another.
    pub(super) fn announce(&self, member: &Member, now: UnixTime) -> Result<UnixTime, Refusal> {
        let name = &member.name;
        let running = self.fleet.look(|fleet| {
            let last = fleet.of(name).next_back().filter(|last| last.boot == Some(member.boot))?;
            last.mac.filter(|_| member.role == Role::Node)
        });
        let Some(mac) = running else {
            let text = format!("this is not the boot of {name} that the head saw last: its next one is not expected");
            return Err(refusal(RefusalReason::Configuration, text));
        };
        let until = now + TOKEN_LIFETIME;
        self.store.put_next_boot(name, &NextBoot { key: member.key, mac, until }).map_err(|error| busy(&error))?;
        tracing::info!(node = %name, %mac, "the node goes down to boot again");
        Ok(until)
    }

    /// Whether the boot of `node` from `mac`, which asks from `from`, was announced. It counts as approved then, and the word for
    /// it is spent, also if this head dies now.
    pub fn claim(&self, node: &NodeName, mac: Mac, from: IpAddr, now: UnixTime) -> Result<bool, StoreError> {
        let fits =
            |boot: &NextBoot| boot.mac == mac && now <= boot.until && self.members.valid(&boot.key, now).is_some();
        if self.store.take_next_boot(node, &fits)?.is_none() {
            return Ok(false);
        }
        // No approval without its record.
        let (who, what, detail) = (format!("node {node}"), "approve".into(), format!("{node} ({mac}), its own reboot"));
        self.store.audit(&AuditRecord { at: now, who, what, detail })?;
        self.fleet.tell(Input::Announced { node: node.clone(), mac, addr: from });
        Ok(true)
    }

    /// The node has joined: what was announced before counts no more.
    pub(super) fn forget(&self, node: &NodeName) -> Result<(), StoreError> {
        self.store.take_next_boot(node, &|_| true).map(drop)
    }
}

impl JoinService {
    /// The same with the image that was chosen for this boot only.
    pub(super) fn once(&self, admission: Admission, request: &JoinRequest) -> Result<Admission, Refusal> {
        if admission.settings.is_none() {
            return Ok(admission);
        }
        let image = self.0.once.joins(&admission.name, request.boot).map_err(|error| busy(&error))?;
        let Some(image) = image else { return Ok(admission) };
        let node = |node: Arc<Node>| Arc::new(Node { image: Some(image.clone()), ..Node::clone(&node) });
        Ok(Admission { settings: admission.settings.map(node), image: image.clone(), ..admission })
    }
}
