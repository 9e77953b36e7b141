//! The engine itself: its state, and which part handles which input. See `mod.rs` for the other parts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::deadline::{Backoff, Pace};
use super::fetch::Request;
use super::head::Given;
use super::image::Image;
use super::locality::Locality;
use super::neighbours::Known;
use super::peers::Peer;
use super::serve::UpSlot;
use super::slots::Offers;
use super::source::DownSlot;
use super::trust::Suspicion;
use super::{Config, ImageIx, Input, Output, PeerIx, Reason, ReqId, Stats};
use crate::image::{Run, Units};
use crate::time::{Mono, Now};

/// Images that one engine takes part in at a time.
const IMAGES_MAX: u16 = 256;

/// The swarm engine of one member. Pure: no clock, no socket, no image byte.
#[derive(Debug)]
pub struct Engine {
    pub(super) config: Config,
    pub(super) rng: ChaCha8Rng,
    pub(super) now: Mono,
    pub(super) images: Vec<Option<Image>>,
    pub(super) peers: BTreeMap<PeerIx, Peer>,
    pub(super) known: BTreeMap<PeerIx, Known>,
    pub(super) revoked: BTreeSet<PeerIx>,
    pub(super) requests: BTreeMap<ReqId, Request>,
    pub(super) next_req: u64,
    pub(super) down: Vec<DownSlot>,
    pub(super) up: Vec<UpSlot>,
    pub(super) given: VecDeque<Given>,
    pub(super) out: VecDeque<Output>,
    pub(super) pace: Pace,
    pub(super) suspicion: Suspicion,
    pub(super) tracker_backoff: Backoff,
    pub(super) flush_at: Option<Mono>,
    pub(super) keep_at: Option<Mono>,
    pub(super) remind_at: Mono,
    pub(super) next_recheck: Mono,
    pub(super) starved_again: Mono,
    pub(super) store_full_until: Mono,
    pub(super) nothing_since: Option<Mono>,
    /// Something changed that may let us ask for more.
    pub(super) hungry: bool,
    /// When deadlines are next looked at.
    pub(super) look_at: Option<Mono>,
    /// When a peer may be asked again that had nothing for us.
    pub(super) again_at: Option<Mono>,
    /// Slots are free, and from then on a request may be doubled.
    pub(super) double_next: Option<Mono>,
    pub(super) locality: Locality,
    pub(super) hears_progress: bool,
    /// When anything last arrived of any request.
    pub(super) last_heard: Mono,
    /// The time that our runs take to be sent.
    pub(super) sending: Pace,
    /// Who was told of free slots, and when more are.
    pub(super) offers: Offers,
    pub(super) draining: bool,
    pub(super) stats: Stats,
}

impl Engine {
    /// An engine that takes part in nothing yet. Two engines with the same seed and inputs give the same outputs.
    pub fn new(config: Config, seed: u64, now: Now) -> Self {
        Self {
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: now.mono,
            images: vec![],
            peers: BTreeMap::new(),
            known: BTreeMap::new(),
            revoked: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_req: 1,
            down: vec![],
            up: vec![],
            given: VecDeque::new(),
            out: VecDeque::new(),
            pace: Pace::default(),
            suspicion: Suspicion::default(),
            tracker_backoff: Backoff::default(),
            flush_at: None,
            keep_at: None,
            remind_at: now.mono + super::neighbours::QUIET_TICK,
            next_recheck: Mono::ZERO,
            starved_again: Mono::ZERO,
            store_full_until: Mono::ZERO,
            nothing_since: None,
            hungry: false,
            look_at: None,
            again_at: None,
            double_next: None,
            locality: Locality::default(),
            hears_progress: false,
            last_heard: Mono::ZERO,
            sending: Pace::default(),
            draining: false,
            offers: Offers::default(),
            stats: Stats::default(),
        }
    }

    /// Takes an input in. Bounded work, whatever it says. Drain [`Engine::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.now = self.now.max(now.mono);
        let now = self.now;
        self.dispatch(now, input);
        if self.keep_at.is_none() && !(self.images.is_empty() && self.peers.is_empty()) {
            self.keep_at = Some(now);
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.check_deadlines(now);
        }
        for timer in [&mut self.double_next, &mut self.again_at] {
            if timer.is_some_and(|at| at <= now) {
                *timer = None;
                self.hungry = true;
            }
        }
        self.expire_given(now);
        if self.keep_at.is_some_and(|at| at <= now) {
            self.housekeeping(now);
        }
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush();
        }
        if self.locality.redraw_at.is_some_and(|at| at <= now) {
            self.redraw(now);
        }
        if self.offers.widen_at.is_some_and(|at| at <= now) {
            self.offer(now);
        }
        if self.hungry {
            self.fill(now);
        }
    }

    fn dispatch(&mut self, now: Mono, input: Input) {
        match input {
            Input::Tick => self.stats.ticks += 1,
            Input::Image { image, units } => self.on_image(image, units),
            Input::Table { image, lens } => self.on_table(image, lens),
            Input::Held { image, run } => self.on_held(now, image, run),
            Input::Dropped { image, unit, again } => self.on_dropped(image, unit, again),
            Input::Candidates(candidates) => self.on_candidates(now, candidates),
            Input::Rack { size, cap } => self.on_rack(now, size, cap),
            Input::Connected { peer, kind, same_rack, dialled: _ } => self.on_connected(now, peer, kind, same_rack),
            Input::DialFailed { peer } => self.on_dial_failed(now, peer),
            Input::Disconnected { peer } => self.on_disconnected(now, peer),
            Input::Revoked { peer } => self.on_revoked(peer),
            Input::Message { peer, message } => self.on_message(now, peer, message),
            Input::Asked { peer, serve, image, choice } => self.on_asked(now, peer, serve, image, choice),
            Input::Served { serve, complete } => self.on_served(now, serve, complete),
            Input::Assigned { req, run } => self.on_assigned(now, req, run),
            Input::Progress { req } => self.on_progress(now, req),
            Input::Verified { req, unit } => self.on_verified(now, req, unit),
            Input::Corrupt { req, unit } => self.on_corrupt(now, req, unit),
            Input::Ended { req, end } => self.on_ended(now, req, end),
            Input::Draining(draining) => {
                self.draining = draining;
                self.withdraw_offers();
                self.offer(now);
            }
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to hand in [`Input::Tick`], and why.
    pub fn poll_timeout(&self) -> Option<(Mono, Reason)> {
        let due = earliest([self.look_at, self.double_next]).map(|at| (at, Reason::Deadline));
        let announce = earliest([self.flush_at, self.offers.widen_at]).map(|at| (at, Reason::Announce));
        let redraw = self.locality.redraw_at.filter(|_| !self.down.is_empty());
        let given = self.given.front().map(|given| given.until);
        let keep = earliest([self.keep_at, self.again_at, given, redraw]);
        let keep = keep.map(|at| (at, Reason::Housekeeping));
        [due, announce, keep].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let peers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        let in_flight = u32::try_from(self.requests.len()).unwrap_or(u32::MAX);
        Stats { peers, in_flight, ..self.stats }
    }

    /// How many units of the image are held; 0 if it is unknown.
    pub fn held_count(&self, image: ImageIx) -> u32 {
        self.image(image).map_or(0, |image| image.held.ones())
    }

    /// Whether the unit is held.
    pub fn is_held(&self, image: ImageIx, unit: u32) -> bool {
        self.image(image).is_some_and(|image| image.held.get(unit))
    }

    /// The units held, as ascending runs of any length.
    pub fn held_runs(&self, image: ImageIx) -> Vec<Run> {
        self.image(image).map_or_else(Vec::new, |image| image.held.runs())
    }

    /// Whether every unit of the image is held.
    pub fn is_complete(&self, image: ImageIx) -> bool {
        self.image(image).is_some_and(Image::is_complete)
    }

    /// The connected peers, by index.
    pub fn connected(&self) -> impl Iterator<Item = PeerIx> {
        self.peers.keys().copied()
    }

    pub(super) fn image(&self, image: ImageIx) -> Option<&Image> {
        self.images.get(usize::from(image.0))?.as_ref()
    }

    pub(super) fn image_mut(&mut self, image: ImageIx) -> Option<&mut Image> {
        self.images.get_mut(usize::from(image.0))?.as_mut()
    }

    fn on_image(&mut self, ix: ImageIx, units: Units) {
        let index = usize::from(ix.0);
        if ix.0 >= IMAGES_MAX || self.image(ix).is_some() {
            return;
        }
        let head = self.config.is_head();
        let Some(image) = Image::new(units, head) else { return };
        for peer in self.peers.values_mut() {
            peer.enter(ix, &image, head);
        }
        if self.images.len() <= index {
            self.images.resize_with(index + 1, || None);
        }
        self.images[index] = Some(image);
        if !head {
            (0..units.pages).for_each(|page| self.set_wanted(ix, page, true));
        }
        self.hungry = true;
        self.keep_at = Some(self.now);
    }

    fn on_table(&mut self, ix: ImageIx, lens: Arc<[u32]>) {
        let head = self.config.is_head();
        let Some(image) = self.image_mut(ix) else { return };
        if !image.set_table(lens) || head {
            return;
        }
        let (chunks, total) = (image.units.pages, image.total);
        // What was taken over is told before anything is asked for: a head that has not heard of it would send it.
        self.flush();
        for unit in chunks..total {
            if !self.is_held(ix, unit) {
                self.set_wanted(ix, unit, true);
            }
        }
        self.hungry = true;
    }

    fn on_held(&mut self, now: Mono, ix: ImageIx, run: Run) {
        let head = self.config.is_head();
        let Some(total) = self.image(ix).map(|image| image.total) else { return };
        for unit in run.first..run.end().min(total) {
            self.take_over(now, ix, unit);
            if let Some(image) = self.image_mut(ix).filter(|_| head) {
                image.picker.insert(unit);
            }
        }
        self.check_covered(ix);
    }
}

fn earliest<const N: usize>(times: [Option<Mono>; N]) -> Option<Mono> {
    times.into_iter().flatten().min()
}
