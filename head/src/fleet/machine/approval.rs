//! Boots that an administrator has to approve: who waits, and whose boot may go on.

use std::net::IpAddr;

use wulfpack_shared::id::{Mac, NodeName};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::Phase;

use super::super::record::{Approval, Severity};
use super::{Fleet, STALE};

impl Fleet {
    /// The boot of `node` that waits for approval; a machine that asks no more waits no more.
    pub fn waiting(&self, node: &NodeName, now: UnixTime) -> Option<&Approval> {
        self.last(node).filter(|boot| now.distance(boot.heard) <= STALE)?.waits()
    }

    /// When the boot of `node` from `mac` was approved, if that holds at `now`.
    pub fn approved(&self, node: &NodeName, mac: Mac, now: UnixTime) -> Option<UnixTime> {
        self.last(node)?.approved(mac, now)
    }

    pub(super) fn waits(&mut self, now: UnixTime, node: &NodeName, mac: Mac, addr: IpAddr) {
        // It stands where it asks for its boot script.
        let Some(started) = self.under_way(now, node, Phase::Script) else { return };
        let Some(record) = self.record_mut(node, started) else { return };
        record.heard = now;
        if record.approval.is_some_and(|approval| approval.holds(now).is_some()) {
            // Another interface of the node was approved, and may be on its way.
            return;
        }
        (record.mac, record.addr) = (Some(mac), Some(addr));
        let before = record.approval.filter(|approval| approval.given.is_none());
        let asked = before.filter(|before| before.mac == mac).map_or(now, |before| before.asked);
        record.approval = Some(Approval { mac, addr, asked, given: None });
        if before.is_none() {
            let text = format!("the boot from {mac} at {addr} waits for approval: `wulf node approve {node}`");
            self.event(now, Severity::Warning, Some(node.clone()), text);
        }
    }

    pub(super) fn announced(&mut self, now: UnixTime, node: &NodeName, mac: Mac, addr: IpAddr) {
        let Some(started) = self.under_way(now, node, Phase::Script) else { return };
        let Some(record) = self.record_mut(node, started) else { return };
        (record.heard, record.mac, record.addr) = (now, Some(mac), Some(addr));
        record.approval = Some(Approval { mac, addr, asked: now, given: Some(now) });
        let text = format!("the boot from {mac} at {addr} needs no approval: the node announced that it boots again");
        self.event(now, Severity::Info, Some(node.clone()), text);
    }

    pub(super) fn approve(&mut self, now: UnixTime, node: &NodeName, mac: Mac, who: &str) {
        let Some(Approval { addr, .. }) = self.waiting(node, now).filter(|approval| approval.mac == mac).copied()
        else {
            return;
        };
        let Some(started) = self.last(node).map(|boot| boot.started) else { return };
        let Some(approval) = self.record_mut(node, started).and_then(|record| record.approval.as_mut()) else { return };
        approval.given = Some(now);
        let text = format!("the boot from {mac} at {addr} was approved by {who}");
        self.event(now, Severity::Info, Some(node.clone()), text);
    }
}
