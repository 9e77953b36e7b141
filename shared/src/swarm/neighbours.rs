//! Neighbours: whom to dial, whom to turn away, when to part, and when to ask the tracker.

use core::time::Duration;

use super::deadline::{Backoff, FIRST_BACKOFF};
use super::machine::Engine;
use super::peers::Peer;
use super::picker::below;
use super::{Candidate, CloseReason, ImageIx, Output, PeerIx, PeerKind, PeerMessage};
use crate::time::Mono;

/// Dials under way at a time.
const DIALS: usize = 4;
/// A dial that was not answered after this time counts as failed.
const DIAL_WAIT: Duration = Duration::from_secs(15);
/// Candidates remembered.
const CANDIDATES_MAX: usize = 1024;
/// The first wait before a peer that was full is dialled again.
const FULL_WAIT: Duration = Duration::from_secs(4);
/// How long both have had everything before the connection is closed: the last messages are through by then.
const BOTH_COMPLETE: Duration = Duration::from_secs(1);
/// How long a connection lies idle before it is closed.
const IDLE: Duration = Duration::from_secs(30);
/// Waits between questions to the tracker.
const TRACKER_FIRST: Duration = Duration::from_secs(1);
/// How often to look while there is something to do, and while all is done but connections stand.
const BUSY_TICK: Duration = Duration::from_millis(250);
pub(super) const QUIET_TICK: Duration = Duration::from_secs(1);

/// Somebody who could be dialled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    kind: PeerKind,
    same_rack: bool,
    dialled: Option<Mono>,
    backoff: Backoff,
}

/// A head is dialled again after at most 8 s: the whole pack may be waiting for it.
const HEAD_DOUBLINGS: u32 = 3;
const NODE_DOUBLINGS: u32 = 6;

impl Known {
    fn dial_failed(&mut self, now: Mono) {
        let doublings = if self.kind == PeerKind::Head { HEAD_DOUBLINGS } else { NODE_DOUBLINGS };
        self.backoff.failed_up_to(now, FIRST_BACKOFF, doublings);
    }
}

impl Engine {
    pub(super) fn on_candidates(&mut self, now: Mono, candidates: Vec<Candidate>) {
        for Candidate { peer, kind, same_rack } in candidates {
            if self.revoked.contains(&peer) {
                continue;
            }
            if let Some(known) = self.known.get_mut(&peer) {
                (known.kind, known.same_rack) = (kind, same_rack);
            } else if self.known.len() < CANDIDATES_MAX {
                self.known.insert(peer, Known { kind, same_rack, dialled: None, backoff: Backoff::default() });
                self.tracker_backoff.worked();
            }
        }
        self.dial(now);
    }

    pub(super) fn on_connected(&mut self, now: Mono, ix: PeerIx, kind: PeerKind, same_rack: bool) {
        if let Some(known) = self.known.get_mut(&ix) {
            known.dialled = None;
            known.backoff.worked();
        }
        self.remove_peer(ix); // a second connection replaces the first
        if self.revoked.contains(&ix) {
            self.out.push_back(Output::Close { peer: ix, reason: CloseReason::Revoked });
            return self.dial(now);
        }
        if self.peers.len() >= usize::from(self.config.neighbours_max) && !self.make_room(now) {
            self.out.push_back(Output::Close { peer: ix, reason: CloseReason::Full });
            return self.dial(now);
        }
        let mut peer = Peer::new(kind, same_rack, now);
        for (index, image) in (0u16..).zip(&self.images) {
            if let Some(image) = image {
                peer.enter(ImageIx(index), image, self.config.is_head());
            }
        }
        self.peers.insert(ix, peer);
        if self.config.serves_nobody() {
            self.out.push_back(Output::Send { peer: ix, message: PeerMessage::ServesNobody });
        }
        self.tell(ix);
        self.offer(now);
        self.dial(now);
    }

    /// Closes one connection that neither end needs. False if there is none.
    fn make_room(&mut self, now: Mono) -> bool {
        let idle = self.peers.iter().find(|(_, peer)| peer.both_complete.is_some()).map(|(&ix, _)| ix);
        if let Some(ix) = idle {
            self.remember_outside(now, ix);
            self.close(ix, CloseReason::Idle);
        }
        idle.is_some()
    }

    pub(super) fn on_dial_failed(&mut self, now: Mono, ix: PeerIx) {
        if let Some(known) = self.known.get_mut(&ix) {
            known.dialled = None;
            known.dial_failed(now);
        }
        self.dial(now);
    }

    pub(super) fn on_disconnected(&mut self, now: Mono, ix: PeerIx) {
        if let Some(known) = self.known.get_mut(&ix) {
            known.dialled = None;
            if self.peers.contains_key(&ix) {
                known.dial_failed(now);
            }
        }
        self.remove_peer(ix);
        self.offer(now);
        self.hungry = true;
        self.dial(now);
    }

    pub(super) fn on_revoked(&mut self, ix: PeerIx) {
        if self.revoked.len() < CANDIDATES_MAX * 4 {
            self.revoked.insert(ix);
        }
        self.known.remove(&ix);
        if self.peers.contains_key(&ix) {
            self.close(ix, CloseReason::Revoked);
        }
    }

    /// The peer is full and about to close.
    pub(super) fn turned_away(&mut self, now: Mono, ix: PeerIx) {
        self.remove_peer(ix);
        if let Some(known) = self.known.get_mut(&ix) {
            known.dialled = None;
            known.backoff.failed(now, FULL_WAIT);
        }
        self.dial(now);
    }

    /// The peer is done and about to close.
    pub(super) fn left_politely(&mut self, from: PeerIx) {
        let now = self.now;
        self.remember_outside(now, from);
        self.turned_away(now, from);
    }

    pub(super) fn close(&mut self, ix: PeerIx, reason: CloseReason) {
        self.remove_peer(ix);
        if reason == CloseReason::Idle {
            self.out.push_back(Output::Send { peer: ix, message: PeerMessage::Bye });
        }
        self.out.push_back(Output::Close { peer: ix, reason });
        self.hungry = true;
    }

    fn is_done(&self) -> bool {
        self.images.iter().flatten().all(super::image::Image::is_done)
    }

    /// Dials candidates, a few at a time, until there are enough neighbours; heads first, then a quarter from other racks.
    pub(super) fn dial(&mut self, now: Mono) {
        if self.config.is_head() || self.is_done() || self.draining {
            return;
        }
        loop {
            let dialling = self.known.values().filter(|known| known.dialled.is_some()).count();
            let nodes = self.peers.values().filter(|peer| !peer.is_head()).count();
            if dialling >= DIALS {
                return;
            }
            let full = nodes + dialling >= usize::from(self.config.neighbours);
            let Some(ix) = self.choose_neighbour(now, full) else { return };
            if let Some(known) = self.known.get_mut(&ix) {
                known.dialled = Some(now);
            }
            self.out.push_back(Output::Dial { peer: ix });
        }
    }

    fn choose_neighbour(&mut self, now: Mono, heads_only: bool) -> Option<PeerIx> {
        let foreign = self.peers.values().filter(|peer| !peer.same_rack).count()
            + self.known.values().filter(|known| known.dialled.is_some() && !known.same_rack).count();
        let wants_foreign = foreign < usize::from(self.config.neighbours / 4);
        let peers = &self.peers;
        let rng = &mut self.rng;
        let free = |(ix, known): &(&PeerIx, &Known)| {
            known.dialled.is_none()
                && known.backoff.is_over(now)
                && !peers.contains_key(ix)
                && (!heads_only || known.kind == PeerKind::Head)
        };
        self.known
            .iter()
            .filter(free)
            .map(|(&ix, known)| {
                (known.kind != PeerKind::Head, known.same_rack == wants_foreign, below(rng, u32::MAX), ix)
            })
            .min()
            .map(|(.., ix)| ix)
    }

    /// Everything that has no hurry.
    pub(super) fn housekeeping(&mut self, now: Mono) {
        self.part(now);
        self.break_crawling(now);
        for known in self.known.values_mut() {
            if known.dialled.is_some_and(|at| now.since(at) >= DIAL_WAIT) {
                known.dialled = None;
                known.dial_failed(now);
            }
        }
        if now >= self.remind_at {
            self.remind_at = now + QUIET_TICK;
            self.remind(now);
        }
        if !self.config.is_head() && !self.is_done() {
            self.report_starved(now);
            self.dial(now);
            self.ask_tracker(now);
        }
        self.hungry = true;
        self.keep_at = if !self.config.is_head() && !self.is_done() {
            Some(now + BUSY_TICK)
        } else if !self.peers.is_empty() || !self.given.is_empty() {
            Some(now + QUIET_TICK)
        } else {
            None
        };
    }

    /// Closes connections that both ends are done with, and those that nobody has used for long.
    fn part(&mut self, now: Mono) {
        let done = self.is_done();
        let images = &self.images;
        let mut leaving = vec![];
        for (&ix, peer) in &mut self.peers {
            let theirs_done =
                (0u16..).zip(images).all(|(index, image)| image.is_none() || peer.is_complete(ImageIx(index)));
            let both = done && (theirs_done || peer.is_head());
            peer.both_complete = if both { peer.both_complete.or(Some(now)) } else { None };
            let parted = peer.both_complete.is_some_and(|since| now.since(since) >= BOTH_COMPLETE);
            if !images.is_empty() && (parted || (done && now.since(peer.used) >= IDLE)) {
                leaving.push(ix);
            }
        }
        for ix in leaving {
            self.remember_outside(now, ix);
            self.close(ix, CloseReason::Idle);
        }
    }

    fn ask_tracker(&mut self, now: Mono) {
        let nodes = self.peers.values().filter(|peer| !peer.is_head()).count();
        let untried =
            self.known.iter().filter(|(ix, known)| known.backoff.is_over(now) && !self.peers.contains_key(ix)).count();
        let want = usize::from(self.config.neighbours).saturating_sub(nodes + untried);
        if want > 0 && self.tracker_backoff.is_over(now) {
            self.tracker_backoff.failed(now, TRACKER_FIRST);
            self.out.push_back(Output::AskTracker { want: u16::try_from(want).unwrap_or(u16::MAX) });
        }
    }
}
