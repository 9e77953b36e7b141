//! Fetching: whom to ask for what, and what becomes of a request.

use core::time::Duration;

use super::bits::Ones;
use super::deadline::FIRST_BACKOFF;
use super::machine::Engine;
use super::picker::below;
use super::{Choice, End, Event, ImageIx, Misdeed, Output, PeerIx, ReqId};
use crate::image::Run;
use crate::limits::{CHUNK_MAX, RUN_UNITS_MAX};
use crate::time::Mono;

/// A slot is released after so many runs, and up to twice as many.
const RUNS_PER_SLOT: u8 = 16;
/// The wait after a head had nothing for us.
const PAUSE: Duration = Duration::from_millis(100);

/// One of our requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) peer: PeerIx,
    pub(super) image: ImageIx,
    /// What it will bring; a head names it later.
    pub(super) run: Option<Run>,
    /// The units of `run` that are still to come, as bits.
    pub(super) left: u64,
    /// Since when the peer works on it; `None` while it is queued behind another.
    pub(super) begun: Option<Mono>,
    /// The last sign of it.
    pub(super) heard: Mono,
    /// Its units are also under way from elsewhere.
    pub(super) doubled: bool,
    pub(super) starved: bool,
    pub(super) cancelled: bool,
    pub(super) corrupt: bool,
}

impl Request {
    /// The units still to come.
    pub(super) fn units(&self) -> impl Iterator<Item = u32> + use<> {
        let first = self.run.map_or(0, |run| run.first);
        Ones(self.left).map(move |bit| first + bit)
    }

    const fn bit(&self, unit: u32) -> u64 {
        match self.run {
            Some(run) if run.contains(unit) && unit - run.first < 64 => 1 << (unit - run.first),
            _ => 0,
        }
    }
}

/// A slot that we hold at a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct DownSlot {
    pub(super) peer: PeerIx,
    pub(super) active: ReqId,
    pub(super) next: Option<ReqId>,
    runs: u8,
    limit: u8,
}

impl Engine {
    /// Asks for as much as slots allow.
    pub(super) fn fill(&mut self, now: Mono) {
        self.hungry = false;
        self.double_next = None;
        if self.config.is_head() || now < self.store_full_until {
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
            let Some(peer) = self.choose_source(now) else { break };
            let Some(req) = self.ask(now, peer, Some(now)) else { break };
            self.hold(peer, req);
        }
        if self.down.len() < usize::from(self.config.slots_down) {
            self.endgame(now);
            self.look_around(now);
        }
    }

    pub(super) fn hold(&mut self, peer: PeerIx, req: ReqId) {
        let limit = RUNS_PER_SLOT + below(&mut self.rng, u32::from(RUNS_PER_SLOT) + 1) as u8;
        self.down.push(DownSlot { peer, active: req, next: None, runs: 1, limit });
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.free = peer.free.saturating_sub(1);
        }
    }

    pub(super) fn usable(&self, now: Mono, peer: PeerIx) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.backoff.is_over(now))
    }

    fn may_go_on(&self, peer: PeerIx) -> bool {
        !self.peers.get(&peer).is_some_and(super::peers::Peer::is_far) || self.may_cross(true)
    }

    /// Among peers with a free slot and something we want: a head before nodes (nobody else has what it has), then the one
    /// of which we hold the fewest slots, then chance.
    fn choose_source(&mut self, now: Mono) -> Option<PeerIx> {
        let mut best = None;
        let may_cross = self.may_cross(false);
        for (&ix, peer) in &self.peers {
            if peer.free == 0
                || (peer.is_far() && !may_cross)
                || !peer.backoff.is_over(now)
                || !peer.images.iter().flatten().any(|theirs| !theirs.offer.is_empty())
            {
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

    /// One request to a peer; `begun` is now unless it queues behind another.
    fn ask(&mut self, now: Mono, ix: PeerIx, begun: Option<Mono>) -> Option<ReqId> {
        let starved = self.is_starved(now);
        let peer = self.peers.get(&ix)?;
        let index =
            peer.images.iter().position(|theirs| theirs.as_ref().is_some_and(|theirs| !theirs.offer.is_empty()))?;
        let image_ix = ImageIx(u16::try_from(index).ok()?);
        let theirs = peer.image(image_ix)?;
        let image = self.images.get(index)?.as_ref()?;
        let choice =
            if peer.is_head() && image.has_table() && theirs.offer.next(0).is_some_and(|unit| !image.is_page(unit)) {
                let max_bytes = u32::try_from(image.run_len).unwrap_or(u32::MAX).max(CHUNK_MAX);
                Choice::Rarest { max_bytes, starved }
            } else {
                let least = u16::from(!peer.is_head()); // a head's own copy is not counted
                let unit = image.picker.rarest(&mut self.rng, least, &theirs.offer)?;
                Choice::Run(image.run_around(unit, image.run_len, |unit| theirs.offer.get(unit)))
            };
        Some(self.send_request(now, ix, image_ix, choice, begun))
    }

    pub(super) fn send_request(
        &mut self,
        now: Mono,
        ix: PeerIx,
        image: ImageIx,
        choice: Choice,
        begun: Option<Mono>,
    ) -> ReqId {
        let req = ReqId(self.next_req);
        self.next_req += 1;
        let starved = matches!(choice, Choice::Rarest { starved: true, .. });
        let mut request = Request {
            peer: ix,
            image,
            run: None,
            left: 0,
            begun,
            heard: now,
            doubled: false,
            starved,
            cancelled: false,
            corrupt: false,
        };
        if let Choice::Run(run) = choice {
            self.expect_run(&mut request, run);
        }
        self.requests.insert(req, request);
        self.stats.requests += 1;
        if let Some(peer) = self.peers.get_mut(&ix) {
            peer.used = now;
        }
        self.out.push_back(Output::Fetch { req, peer: ix, image, choice });
        req
    }

    /// The request will bring this run: its units are under way, except those that are here already.
    fn expect_run(&mut self, request: &mut Request, run: Run) {
        request.run = Some(run);
        for unit in run.iter().take(RUN_UNITS_MAX as usize) {
            let Some(image) = self.image_mut(request.image) else { return };
            if image.held.get(unit) {
                continue;
            }
            let pending = &mut image.pending[unit as usize];
            request.doubled |= *pending > 0;
            *pending = pending.saturating_add(1);
            request.left |= request.bit(unit);
            self.set_wanted(request.image, unit, false);
        }
    }

    pub(super) fn on_assigned(&mut self, now: Mono, req: ReqId, run: Run) {
        let Some(mut request) = self.requests.get(&req).copied() else { return };
        if request.run.is_some() || request.cancelled {
            return;
        }
        if !self.image(request.image).is_some_and(|image| image.is_sound(run)) {
            self.cancel(req);
            return self.misbehaved(request.peer, Misdeed::Nonsense);
        }
        request.heard = now;
        self.expect_run(&mut request, run);
        self.stats.endgame += u64::from(request.doubled);
        let useless = request.left == 0;
        self.requests.insert(req, request);
        if useless {
            self.stats.superseded += 1;
            self.cancel(req);
        }
    }

    pub(super) fn on_progress(&mut self, now: Mono, req: ReqId) {
        self.hears_progress = true;
        if let Some(request) = self.requests.get_mut(&req) {
            request.heard = now;
            self.last_heard = now;
        }
    }

    pub(super) fn on_verified(&mut self, now: Mono, req: ReqId, unit: u32) {
        let Some(request) = self.requests.get_mut(&req) else { return };
        request.heard = now;
        self.last_heard = now;
        let (ix, peer) = (request.image, request.peer);
        if !request.run.is_some_and(|run| run.contains(unit)) {
            return;
        }
        let from_head = self.peers.get(&peer).is_some_and(super::peers::Peer::is_head);
        self.suspicion.good();
        let Some(image) = self.image(ix) else { return };
        let bytes = u64::from(image.len_of(unit));
        if image.held.get(unit) {
            self.stats.bytes_duplicate += bytes;
            return;
        }
        *if from_head { &mut self.stats.bytes_from_heads } else { &mut self.stats.bytes_from_peers } += bytes;
        if !from_head {
            self.nothing_since = None;
        }
        self.arrived(ix, unit, req);
        self.take_over(now, ix, unit);
    }

    /// A unit is here: no request but the one that brought it needs to go on for its sake.
    fn arrived(&mut self, ix: ImageIx, unit: u32, by: ReqId) {
        if let Some(image) = self.image_mut(ix) {
            image.pending[unit as usize] = 0;
        }
        let mut useless = vec![];
        for (&req, request) in self.requests.iter_mut().filter(|(_, request)| request.image == ix) {
            let bit = request.bit(unit);
            if request.left & bit != 0 {
                request.left &= !bit;
                if request.left == 0 && req != by {
                    useless.push(req);
                }
            }
        }
        for req in useless {
            self.superseded(req);
        }
    }

    fn superseded(&mut self, req: ReqId) {
        self.stats.superseded += 1;
        self.cancel(req);
    }

    /// Stops a request; what it would have brought is wanted again.
    pub(super) fn cancel(&mut self, req: ReqId) {
        if let Some(request) = self.requests.get_mut(&req)
            && !request.cancelled
        {
            request.cancelled = true;
            self.release(req);
            self.out.push_back(Output::Cancel { req });
        }
    }

    fn release(&mut self, req: ReqId) {
        let Some(request) = self.requests.get_mut(&req) else { return };
        let (ix, units) = (request.image, request.units());
        request.left = 0;
        for unit in units {
            let Some(image) = self.image_mut(ix) else { return };
            let pending = &mut image.pending[unit as usize];
            *pending = pending.saturating_sub(1);
            if *pending == 0 && !image.held.get(unit) {
                self.set_wanted(ix, unit, true);
            }
        }
    }

    pub(super) fn on_ended(&mut self, now: Mono, req: ReqId, end: End) {
        self.release(req);
        let Some(request) = self.requests.remove(&req) else { return };
        self.hungry = true;
        self.next_in_slot(now, req, end);
        let whole =
            request.run.is_some_and(|run| end == End::Done && !request.corrupt && self.brought(request.image, run));
        let run = request.run.filter(|_| whole);
        if let (Some(run), Some(begun)) = (run, request.begun)
            && let Some(image) = self.image(request.image)
        {
            let (bytes, run_len) = (image.bytes_of(run), image.run_len);
            self.pace.sample(now.since(begun), bytes, run_len);
        }
        let Some(peer) = self.peers.get_mut(&request.peer) else { return };
        match end {
            End::Done if whole => peer.backoff.worked(),
            End::Done | End::PeerGone if !request.corrupt && !request.cancelled => {
                peer.backoff.failed(now, FIRST_BACKOFF)
            }
            End::Done | End::PeerGone | End::Cancelled => {}
            End::Busy => {
                peer.free = 0;
                self.stats.busy += 1;
            }
            End::Refused => {
                self.stats.refused += 1;
                peer.free = peer.free.max(1); // there was a slot, and we did not take it
                match request.run {
                    Some(run) => run.iter().for_each(|unit| self.forget_copy(request.peer, request.image, unit)),
                    None => peer.backoff.pause(now, if request.starved { FIRST_BACKOFF } else { PAUSE }),
                }
            }
            End::StoreFull => self.store_full_until = now + FIRST_BACKOFF,
        }
    }

    fn brought(&self, ix: ImageIx, run: Run) -> bool {
        self.image(ix).is_some_and(|image| image.holds(run))
    }

    /// The request is over: its follow-on begins, or the slot is free.
    fn next_in_slot(&mut self, now: Mono, req: ReqId, end: End) {
        if let Some(slot) = self.down.iter_mut().find(|slot| slot.next == Some(req)) {
            slot.next = None;
            if end == End::Busy {
                slot.limit = 0; // the peer wants its slot back
            }
            return;
        }
        let Some(index) = self.down.iter().position(|slot| slot.active == req) else { return };
        let slot = &mut self.down[index];
        match slot.next.take() {
            Some(next) => {
                slot.active = next;
                slot.runs = slot.runs.saturating_add(1);
                if let Some(request) = self.requests.get_mut(&next) {
                    request.begun = Some(now);
                    request.heard = now;
                }
            }
            None => drop(self.down.swap_remove(index)),
        }
    }

    /// A verified unit is in the store, however it came.
    pub(super) fn take_over(&mut self, now: Mono, ix: ImageIx, unit: u32) {
        self.set_wanted(ix, unit, false);
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        if !image.held.set(unit) {
            return;
        }
        image.log.push(unit);
        for theirs in self.peers.values_mut().filter_map(|peer| peer.image_mut(ix)) {
            theirs.common += u32::from(theirs.has.get(unit));
        }
        let in_pages = image.is_page(unit);
        let pages = !image.pages_said && in_pages && image.pages_held();
        image.pages_said |= pages;
        let complete = !image.complete_said && image.is_complete();
        image.complete_said |= complete;
        if pages {
            self.out.push_back(Output::Event(Event::PagesComplete { image: ix }));
        }
        if complete {
            self.out.push_back(Output::Event(Event::Complete { image: ix }));
        }
        self.announce(now, in_pages || complete);
        self.hungry = true;
    }
}
