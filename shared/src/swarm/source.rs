//! Whom to ask for what. Asked for only where a peer is known to hold what we want, and to have a slot for us.

use super::machine::Engine;
use super::peers::Peer;
use super::picker::below;
use super::{Choice, ImageIx, PeerIx, ReqId};
use crate::limits::CHUNK_MAX;
use crate::time::Mono;

/// A slot that we hold at a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct DownSlot {
    pub(super) peer: PeerIx,
    pub(super) active: ReqId,
    pub(super) next: Option<ReqId>,
    /// The active run is over and nothing was queued: the peer may have given the slot to nobody yet, and take one more request.
    pub(super) idle: bool,
    pub(super) runs: u8,
    pub(super) limit: u8,
}

impl Engine {
    /// Asks for as much as slots allow.
    pub(super) fn fill(&mut self, now: Mono) {
        self.hungry = false;
        self.double_next = None;
        let may_ask = !self.config.is_head() && now >= self.store_full_until;
        self.go_on_in_idle_slots(now, may_ask);
        if !may_ask {
            return;
        }
        for index in 0..self.down.len() {
            let slot = self.down[index];
            if slot.next.is_none() && slot.runs < slot.limit && self.usable(now, slot.peer) && self.may_go_on(slot.peer)
            {
                self.down[index].next = self.ask(now, slot.peer, None);
            }
        }
        while self.down.len() < usize::from(self.config.slots_down) {
            let source = self.choose_source(now).or_else(|| self.only_source(now));
            let Some(peer) = source else { break };
            let Some(req) = self.ask(now, peer, Some(now)) else { break };
            self.hold(peer, req);
        }
        if self.down.len() < usize::from(self.config.slots_down) {
            self.endgame(now);
            self.look_around(now);
        }
    }

    /// Slots whose peers may still have them for us are asked for at once or not at all.
    fn go_on_in_idle_slots(&mut self, now: Mono, may_ask: bool) {
        let mut index = 0;
        while let Some(&slot) = self.down.get(index) {
            // The peer would take it for another slot's follow-on.
            let open = |other: &DownSlot| other.peer == slot.peer && !other.idle && other.next.is_none();
            let go_on = slot.idle
                && may_ask
                && !self.down.iter().any(open)
                && self.usable(now, slot.peer)
                && self.may_go_on(slot.peer);
            match if go_on { self.ask(now, slot.peer, Some(now)) } else { None } {
                Some(req) => {
                    let slot = &mut self.down[index];
                    (slot.active, slot.idle, slot.runs) = (req, false, slot.runs.saturating_add(1));
                }
                None if slot.idle => {
                    self.down.swap_remove(index);
                    continue;
                }
                None => {}
            }
            index += 1;
        }
    }

    pub(super) fn hold(&mut self, peer: PeerIx, req: ReqId) {
        let tenure = self.tenure();
        let limit = tenure + below(&mut self.rng, u32::from(tenure) + 1) as u8;
        self.down.push(DownSlot { peer, active: req, next: None, idle: false, runs: 1, limit });
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.free = peer.free.saturating_sub(1);
        }
    }

    pub(super) fn usable(&self, now: Mono, peer: PeerIx) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.is_usable(now))
    }

    fn may_go_on(&self, peer: PeerIx) -> bool {
        !self.peers.get(&peer).is_some_and(Peer::is_far) || self.may_cross(true)
    }

    /// Among peers with a free slot and something we want: a head before nodes (nobody else has what it has), then the one
    /// of which we hold the fewest slots, then chance.
    fn choose_source(&mut self, now: Mono) -> Option<PeerIx> {
        let capped = self.locality.is_capped();
        let may_cross = self.may_cross(false);
        let mut best = None;
        for (&ix, peer) in &mut self.peers {
            if peer.free == 0 || (peer.is_far() && !may_cross) || !peer.is_usable(now) {
                continue;
            }
            if !peer.offers(&self.images, capped) {
                continue;
            }
            let mut slots = self.down.iter().filter(|slot| slot.peer == ix);
            let held = slots.clone().count();
            if slots.any(|slot| slot.next.is_none()) {
                continue; // the peer would take a request for that slot's follow-on
            }
            let key = (!peer.is_head(), held, below(&mut self.rng, u32::MAX), ix);
            if best.is_none_or(|best| key < best) {
                best = Some(key);
            }
        }
        best.map(|(.., ix)| ix)
    }

    /// Where nothing is under way and nobody else offers anything: a peer that was late. Nothing is gained by leaving it alone,
    /// unless there is a head, which may then send what only it seems to hold.
    fn only_source(&mut self, now: Mono) -> Option<PeerIx> {
        if !self.down.is_empty() {
            return None;
        }
        let capped = self.locality.is_capped();
        let heads = self.peers.values().any(Peer::is_head);
        let late = |peer: &Peer| peer.backoff.is_over(now) && !peer.late.is_over(now);
        let mut only = None;
        for (&ix, peer) in &mut self.peers {
            if !peer.backoff.is_over(now) || !peer.offers(&self.images, capped) {
                continue;
            }
            if !late(peer) {
                return None;
            }
            if peer.free == 0 || (heads && !peer.is_head()) {
                continue;
            }
            let key = (peer.late.until(), ix);
            only = Some(only.map_or(key, |only: (Mono, PeerIx)| only.min(key)));
        }
        only.map(|(_, ix)| ix)
    }

    /// One request to a peer; `begun` is now unless it queues behind another.
    fn ask(&mut self, now: Mono, ix: PeerIx, begun: Option<Mono>) -> Option<ReqId> {
        let starved = self.is_starved(now);
        let capped = self.locality.is_capped();
        let peer = self.peers.get_mut(&ix)?;
        let index = peer.first_offered(&self.images, capped)?;
        let beyond = capped && peer.is_far();
        let image_ix = ImageIx(u16::try_from(index).ok()?);
        let theirs = peer.image(image_ix)?;
        let image = self.images.get(index)?.as_ref()?;
        let offer = image.offer_of(theirs, beyond);
        let choice = if peer.is_head() && image.has_table() && offer.next(0).is_some_and(|unit| !image.is_page(unit)) {
            let max_bytes = u32::try_from(image.run_len).unwrap_or(u32::MAX).max(CHUNK_MAX);
            Choice::Rarest { max_bytes, starved }
        } else {
            let least = u16::from(!peer.is_head()); // a head's own copy is not counted
            let unit = image.picker.rarest(&mut self.rng, least, &offer)?;
            Choice::Run(image.run_around(unit, image.run_len, |unit| offer.get(unit)))
        };
        Some(self.send_request(now, ix, image_ix, choice, begun))
    }
}
