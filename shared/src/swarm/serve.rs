//! Serving: slots, the one request queued behind each, and who is told of free ones.

use core::time::Duration;

use super::machine::Engine;
use super::peers::Peer;
use super::{Choice, ImageIx, Misdeed, Output, PeerIx, RefuseReason, ServeId};
use crate::image::Run;
use crate::time::Mono;

/// Runs after which a slot is freed whatever its holder wants; a correct holder leaves after 16 to 32.
const RUNS_PER_SLOT: u16 = 40;
/// What takes so many times as long to be sent as a run does, and this long beside, goes to a receiver that is slow or dead …
const PATIENCE_RUNS: u32 = 8;
const PATIENCE: Duration = Duration::from_millis(50);
/// … and this long, before the first run was timed.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// No run takes a receiver so long that is worth a slot: 70 kB/s where it is the longest.
const LONGEST_SERVE: Duration = Duration::from_secs(60);
/// How long a receiver that took longer gets no slot, doubling each time.
const CRAWLER_WAIT: Duration = Duration::from_secs(10);
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
    begun: Mono,
    /// From then on its receiver is slow or dead, and keeps nobody from a slot.
    stuck_at: Mono,
    broken: bool,
}

impl Engine {
    pub(super) fn on_asked(&mut self, now: Mono, from: PeerIx, serve: ServeId, image: ImageIx, choice: Choice) {
        let ask = Ask { serve, image, choice };
        self.heard_of(now, from);
        let Some(peer) = self.peers.get_mut(&from) else { return self.refuse(now, from, serve, RefuseReason::Busy) };
        peer.used = now;
        if self.draining {
            return self.refuse(now, from, serve, RefuseReason::Busy);
        }
        if !self.may_ask(image, choice) {
            return self.refuse(now, from, serve, RefuseReason::NotHeld);
        }
        let queues = self.up.iter_mut().filter(|slot| slot.peer == from && slot.queued.is_none());
        let follow_on = queues.min_by_key(|slot| slot.runs).filter(|slot| slot.runs < RUNS_PER_SLOT);
        if let Some(slot) = follow_on {
            slot.queued = Some(ask);
            return;
        }
        if self.free_for(from) == 0 {
            return self.refuse(now, from, serve, RefuseReason::Busy);
        }
        let Some(slot) = self.begin(now, from, ask, 0) else { return };
        self.up.push(slot);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.told_free = peer.told_free.saturating_sub(1);
        }
        if self.free_slots() == 0 {
            self.withdraw_offers(); // the last one is taken: nobody should come in vain
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
        Some(UpSlot {
            peer,
            serve: ask.serve,
            image: ask.image,
            run,
            queued: None,
            runs: runs.saturating_add(1),
            begun: now,
            stuck_at: now + self.patience(ask.image, run),
            broken: false,
        })
    }

    fn refuse(&mut self, now: Mono, from: PeerIx, serve: ServeId, reason: RefuseReason) {
        self.stats.turned_down += 1;
        self.out.push_back(Output::Refuse { serve, reason });
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if reason == RefuseReason::Busy {
            peer.told_free = 0; // it will not ask again before it is told of a slot
            peer.came_in_vain.get_or_insert(now);
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
        if complete && let Some(image) = self.image(slot.image) {
            let (bytes, run_len) = (image.bytes_of(slot.run), image.run_len);
            self.sending.sample(now.since(slot.begun).min(self.patience(slot.image, slot.run)), bytes, run_len);
        }
        if !complete {
            self.take_back(slot.peer, slot.image, slot.run);
        }
        if let Some(peer) = self.peers.get_mut(&slot.peer) {
            peer.used = now;
            // Where we took its new slot for a follow-on, its count of our free slots and ours differ: say it again.
            peer.told_free = if slot.queued.is_none() { 0 } else { peer.told_free };
        }
        match slot.queued.and_then(|ask| self.begin(now, slot.peer, ask, slot.runs)) {
            Some(next) => self.up.push(next),
            None => self.offer(now),
        }
    }

    /// Takes slots away from receivers that crawl.
    pub(super) fn break_crawling(&mut self, now: Mono) {
        for slot in self.up.iter_mut().filter(|slot| !slot.broken && now.since(slot.begun) >= LONGEST_SERVE) {
            slot.broken = true;
            if let Some(peer) = self.peers.get_mut(&slot.peer) {
                peer.crawls.failed(now, CRAWLER_WAIT);
            }
            self.out.push_back(Output::Break(slot.serve));
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
        let stuck = self.up.iter().any(|slot| slot.peer == ix && slot.stuck_at <= self.now);
        let may_have = |peer: &Peer| peer.crawls.is_over(self.now) && self.lacks(peer);
        if !stuck && self.peers.get(&ix).is_some_and(may_have) {
            self.room_for(ix, self.share(), self.free_slots())
        } else {
            0
        }
    }

    /// An even share of the slots among those who lack something.
    pub(super) fn share(&self) -> usize {
        let lacking = self.peers.values().filter(|peer| self.lacks(peer)).count();
        usize::from(self.config.slots_up).div_ceil(lacking.max(1))
    }

    /// Slots that nobody holds. One whose receiver is stuck is lent to others, so that at most twice as many are in use.
    pub(super) fn free_slots(&self) -> usize {
        if self.draining {
            return 0;
        }
        let slots = usize::from(self.config.slots_up);
        let stuck = self.up.iter().filter(|slot| slot.stuck_at <= self.now).count();
        let taken = self.up.len() - stuck.min(slots);
        slots.saturating_sub(taken)
    }

    /// How long a receiver may take. What takes longer keeps nobody from a slot, though not from twice as many as there are.
    pub(super) fn patience(&self, ix: ImageIx, run: Run) -> Duration {
        self.patience_for(self.image(ix).map_or(1, |image| image.times(Some(run))))
    }

    /// How long the receiver of a run of usual length may take.
    pub(super) fn usual_patience(&self) -> Duration {
        self.patience_for(1)
    }

    fn patience_for(&self, times: u32) -> Duration {
        match self.sending.run() {
            Duration::ZERO => FIRST_PATIENCE,
            usual => usual * PATIENCE_RUNS * times + PATIENCE,
        }
    }

    /// How many of the `free` slots a peer could have.
    pub(super) fn room_for(&self, ix: PeerIx, share: usize, free: usize) -> u8 {
        let held = self.up.iter().filter(|slot| slot.peer == ix).count();
        u8::try_from(free.min(share.saturating_sub(held))).unwrap_or(u8::MAX)
    }

    /// Whether we may have something for the peer.
    pub(super) fn lacks(&self, peer: &Peer) -> bool {
        !peer.is_head()
            && self.images.iter().zip(&peer.images).any(|(ours, theirs)| {
                let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
                ours.held.ones() > theirs.common
            })
    }
}
