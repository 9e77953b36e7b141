//! Serving: slots, the one request queued behind each, and who is told of free ones.

use core::time::Duration;

use super::machine::Engine;
use super::picker::below;
use super::{Choice, ImageIx, Misdeed, Output, PeerIx, PeerMessage, RefuseReason, ServeId};
use crate::image::Run;
use crate::time::Mono;

/// Runs after which a slot is freed whatever its holder wants; a correct holder leaves after 16 to 32.
const RUNS_PER_SLOT: u16 = 32;
/// Requests turned down within a second that make a flood.
const FLOOD: u32 = 256;

/// A peer's request.
#[derive(Clone, Copy, Debug)]
struct Ask {
    serve: ServeId,
    image: ImageIx,
    choice: Choice,
}

/// A slot that a peer holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpSlot {
    pub(super) peer: PeerIx,
    serve: ServeId,
    image: ImageIx,
    run: Run,
    queued: Option<Ask>,
    runs: u16,
}

impl Engine {
    pub(super) fn on_asked(&mut self, now: Mono, from: PeerIx, serve: ServeId, image: ImageIx, choice: Choice) {
        let ask = Ask { serve, image, choice };
        let Some(peer) = self.peers.get_mut(&from) else { return self.refuse(now, from, serve, RefuseReason::Busy) };
        peer.used = now;
        if self.draining {
            return self.refuse(now, from, serve, RefuseReason::Busy);
        }
        if !self.may_ask(image, choice) {
            return self.refuse(now, from, serve, RefuseReason::NotHeld);
        }
        let follow_on =
            self.up.iter_mut().find(|slot| slot.peer == from && slot.queued.is_none() && slot.runs < RUNS_PER_SLOT);
        if let Some(slot) = follow_on {
            slot.queued = Some(ask);
        } else if self.free_for(from) == 0 {
            self.refuse(now, from, serve, RefuseReason::Busy);
        } else if let Some(slot) = self.begin(now, from, ask, 0) {
            self.up.push(slot);
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.told_free = peer.told_free.saturating_sub(1);
            }
        }
    }

    fn may_ask(&self, image: ImageIx, choice: Choice) -> bool {
        let Some(image) = self.images.get(usize::from(image.0)).and_then(Option::as_ref) else { return false };
        match choice {
            Choice::Run(run) => image.is_sound(run) && image.holds(run),
            Choice::Rarest { .. } => self.config.is_head() && image.has_table(),
        }
    }

    /// Starts to serve, or refuses: between its arrival and its turn a request may have become void.
    fn begin(&mut self, now: Mono, peer: PeerIx, ask: Ask, runs: u16) -> Option<UpSlot> {
        let run = match ask.choice {
            _ if !self.may_ask(ask.image, ask.choice) => None,
            Choice::Run(run) => Some(run),
            Choice::Rarest { max_bytes, starved } => self.choose_for(now, peer, ask.image, max_bytes, starved),
        };
        let Some(run) = run else {
            self.refuse(now, peer, ask.serve, RefuseReason::NotHeld);
            return None;
        };
        self.stats.served += 1;
        self.stats.bytes_offered += self.image(ask.image).map_or(0, |image| image.bytes_of(run));
        self.out.push_back(Output::Serve { serve: ask.serve, image: ask.image, run });
        Some(UpSlot { peer, serve: ask.serve, image: ask.image, run, queued: None, runs: runs.saturating_add(1) })
    }

    fn refuse(&mut self, now: Mono, from: PeerIx, serve: ServeId, reason: RefuseReason) {
        self.stats.turned_down += 1;
        self.out.push_back(Output::Refuse { serve, reason });
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if reason == RefuseReason::Busy {
            peer.told_free = 0; // it will not ask again before it is told of a slot
        }
        if now.since(peer.rejects.0) >= Duration::from_secs(1) {
            peer.rejects = (now, 0);
        }
        peer.rejects.1 += 1;
        if peer.rejects.1 > FLOOD {
            self.misbehaved(from, Misdeed::Flood);
        }
    }

    pub(super) fn on_served(&mut self, now: Mono, serve: ServeId, complete: bool) {
        if let Some(slot) = self.up.iter_mut().find(|slot| slot.queued.is_some_and(|ask| ask.serve == serve)) {
            slot.queued = None; // the asker withdrew it
            return;
        }
        let Some(index) = self.up.iter().position(|slot| slot.serve == serve) else { return };
        let slot = self.up.swap_remove(index);
        if !complete {
            self.take_back(slot.peer, slot.image, slot.run);
        }
        if let Some(peer) = self.peers.get_mut(&slot.peer) {
            peer.used = now;
        }
        match slot.queued.and_then(|ask| self.begin(now, slot.peer, ask, slot.runs)) {
            Some(next) => self.up.push(next),
            None => self.advertise(true),
        }
    }

    /// Frees a leaving peer's slots; what it had queued is refused, as each request has an answer.
    pub(super) fn drop_serves(&mut self, peer: PeerIx) {
        for slot in self.up.extract_if(.., |slot| slot.peer == peer) {
            if let Some(ask) = slot.queued {
                self.out.push_back(Output::Refuse { serve: ask.serve, reason: RefuseReason::Busy });
            }
        }
    }

    /// How many more slots this peer could have: the free ones, up to an even share among those who lack something.
    fn free_for(&self, ix: PeerIx) -> u8 {
        if self.draining || self.peers.get(&ix).is_none_or(|peer| !self.lacks(peer)) {
            return 0;
        }
        let slots = usize::from(self.config.slots_up);
        let free = slots.saturating_sub(self.up.len());
        let lacking = self.peers.values().filter(|peer| self.lacks(peer)).count();
        let held = self.up.iter().filter(|slot| slot.peer == ix).count();
        let share = slots.div_ceil(lacking.max(1)).saturating_sub(held);
        u8::try_from(free.min(share)).unwrap_or(u8::MAX)
    }

    /// Whether we may have something for the peer.
    fn lacks(&self, peer: &super::peers::Peer) -> bool {
        !peer.is_head()
            && self.images.iter().zip(&peer.images).any(|(ours, theirs)| {
                let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
                ours.held.ones() > 0 && !theirs.has.is_full()
            })
    }

    /// Tells peers of free slots. With `only_news`, those who believe that there is none for them and could have one;
    /// else also those whose belief is off.
    pub(super) fn advertise(&mut self, only_news: bool) {
        let peers: Vec<PeerIx> = self.peers.keys().copied().collect();
        let start = below(&mut self.rng, u32::try_from(peers.len()).unwrap_or(u32::MAX)) as usize;
        for &ix in peers[start..].iter().chain(&peers[..start]) {
            let told = self.peers.get(&ix).map_or(0, |peer| peer.told_free);
            if only_news && (told > 0 || self.up.len() >= usize::from(self.config.slots_up)) {
                continue;
            }
            let free = self.free_for(ix);
            if free == told || (only_news && free == 0) {
                continue;
            }
            if let Some(peer) = self.peers.get_mut(&ix) {
                peer.told_free = free;
            }
            self.out.push_back(Output::Send { peer: ix, message: PeerMessage::Slots { free } });
        }
    }

    /// Says the number of free slots again to all who lack something, if there are any: whatever a peer believes, it does
    /// not wait for ever.
    pub(super) fn remind(&mut self) {
        for peer in self.peers.values_mut() {
            peer.told_free = 0;
        }
        self.advertise(true);
    }
}
