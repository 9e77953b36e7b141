//! What becomes of a request, from its sending to its end. Whom to ask for what: `source.rs`.

use core::time::Duration;

use super::bits::Ones;
use super::deadline::FIRST_BACKOFF;
use super::machine::Engine;
use super::{Choice, End, Event, ImageIx, Misdeed, Output, PeerIx, ReqId};
use crate::image::Run;
use crate::limits::RUN_UNITS_MAX;
use crate::time::Mono;

/// What so many neighbours hold is announced with the next run; what fewer hold at once: it may be nowhere else.
const RARE: u16 = 4;
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
    /// How many runs of usual length it is worth.
    pub(super) times: u32,
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

impl Engine {
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
            times: self.image(image).map_or(1, |image| image.times(None)),
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
        if begun.is_some() {
            self.look_by(now, now + self.deadline_of(&request));
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
        request.times = self.image(request.image).map_or(1, |image| image.times(Some(run)));
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
            End::Done if whole => {
                peer.backoff.worked();
                peer.late.worked();
            }
            End::Done | End::PeerGone if !request.corrupt && !request.cancelled => {
                peer.backoff.failed(now, FIRST_BACKOFF)
            }
            End::Done | End::PeerGone | End::Cancelled => {}
            End::Busy => {
                peer.free = 0;
                self.offers.replied(now.since(request.heard));
                self.stats.busy += 1;
            }
            End::Refused => {
                self.stats.refused += 1;
                peer.free = peer.free.max(1); // there was a slot, and we did not take it
                match request.run {
                    Some(run) => run.iter().for_each(|unit| self.forget_copy(request.peer, request.image, unit)),
                    None => {
                        let pause = if request.starved { FIRST_BACKOFF } else { PAUSE };
                        peer.backoff.pause(now, pause);
                        self.again_at = Some(self.again_at.map_or(now + pause, |at| at.min(now + pause)));
                    }
                }
            }
            End::StoreFull => self.store_full_until = now + FIRST_BACKOFF,
        }
    }

    fn brought(&self, ix: ImageIx, run: Run) -> bool {
        self.image(ix).is_some_and(|image| image.holds(run))
    }

    /// The request is over: its follow-on begins, or the slot is free, or its peer keeps it for us for a moment.
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
        let Some(next) = slot.next.take() else {
            slot.idle = end == End::Done && slot.runs < slot.limit;
            if !slot.idle {
                self.down.swap_remove(index);
            }
            return;
        };
        slot.active = next;
        slot.runs = slot.runs.saturating_add(1);
        if let Some(mut request) = self.requests.get(&next).copied() {
            (request.begun, request.heard) = (Some(now), now);
            self.look_by(now, now + self.deadline_of(&request));
            self.requests.insert(next, request);
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
        let rare = image.picker.copies(unit) < RARE;
        self.announce(now, in_pages || complete, rare);
    }
}
