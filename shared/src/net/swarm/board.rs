//! What an image holds and has counted; written by the tasks that fetch and serve, read by whoever asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::throttle::Throttle;
use crate::id::VersionId;
use crate::image::Run;
use crate::net::endpoint::{Tuning, WireMeter};
use crate::net::store::UnitStore;
use crate::swarm::ImageIx;
use crate::wire::SwarmSummary;

/// One image of this member.
#[derive(Debug)]
pub(super) struct Image {
    /// Its identity.
    pub version: VersionId,
    /// Its index in the engine.
    pub ix: ImageIx,
    /// Where its units lie.
    pub store: Arc<dyn UnitStore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: Vec<bool>,
    counts: SwarmSummary,
}

impl Image {
    pub(super) fn new(version: VersionId, ix: ImageIx, store: Arc<dyn UnitStore>, held: &[Run]) -> Self {
        let total = store.geometry().units().total();
        let counts = SwarmSummary { total, ..SwarmSummary::default() };
        let image = Self { version, ix, store, state: Mutex::new(State { held: vec![false; total as usize], counts }) };
        for unit in held.iter().flat_map(|run| run.iter().take_while(|unit| *unit < total)) {
            image.hold(unit);
        }
        image
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the unit is verified in the store.
    pub(super) fn holds(&self, unit: u32) -> bool {
        self.state().held.get(unit as usize).copied().unwrap_or(false)
    }

    /// The unit is verified in the store now; says whether it was not before.
    pub(super) fn hold(&self, unit: u32) -> bool {
        self.change(unit, true)
    }

    /// The unit was fetched into the store, from a head or from a peer, and its `len` bytes count for the one that was first.
    pub(super) fn fetched(&self, unit: u32, len: u64, from_head: bool) {
        // Held before counted would show an image that is complete and lacks bytes: both under one lock.
        let mut state = self.state();
        let State { held, counts } = &mut *state;
        let fresh = held.get_mut(unit as usize).is_some_and(|held| !core::mem::replace(held, true));
        counts.held += u32::from(fresh);
        match (fresh, from_head) {
            (false, _) => counts.wasted += len,
            (true, true) => counts.from_heads += len,
            (true, false) => counts.from_peers += len,
        }
    }

    /// The unit went bad; says whether it was held.
    pub(super) fn lose(&self, unit: u32) -> bool {
        self.change(unit, false)
    }

    fn change(&self, unit: u32, now: bool) -> bool {
        let mut state = self.state();
        let changed = state.held.get_mut(unit as usize).is_some_and(|held| core::mem::replace(held, now) != now);
        if changed {
            let held = state.counts.held;
            state.counts.held = if now { held + 1 } else { held.saturating_sub(1) };
        }
        changed
    }

    /// What is held, as runs.
    pub(super) fn held(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (unit, _) in (0u32..).zip(&self.state().held).filter(|(_, held)| **held) {
            match runs.last_mut() {
                Some(last) if last.end() == unit => last.count += 1,
                _ => runs.push(Run::one(unit)),
            }
        }
        runs
    }

    /// Changes the counters.
    pub(super) fn count(&self, change: impl FnOnce(&mut SwarmSummary)) {
        change(&mut self.state().counts);
    }

    fn summary(&self) -> SwarmSummary {
        self.state().counts
    }
}

/// All images of this member.
#[derive(Debug)]
pub(super) struct Board {
    images: Mutex<BTreeMap<VersionId, Arc<Image>>>,
    peers: AtomicU16,
    paused: AtomicBool,
    turned_away: AtomicU32,
    meter: Arc<WireMeter>,
    pub(super) up: Arc<Throttle>,
    pub(super) down: Arc<Throttle>,
}

impl Board {
    /// Of a member with these caps, whose sockets `meter` counts.
    pub(super) fn new(tuning: &Tuning, meter: Arc<WireMeter>) -> Self {
        let (manners, datagram) = (tuning.manners, tuning.datagram());
        Self {
            images: Mutex::default(),
            peers: AtomicU16::new(0),
            paused: AtomicBool::new(false),
            turned_away: AtomicU32::new(0),
            up: Arc::new(Throttle::new(manners.upload, datagram, Some(Arc::clone(&meter)))),
            down: Arc::new(Throttle::new(manners.download, datagram, None)),
            meter,
        }
    }

    /// A caller or a request was turned away.
    pub(super) fn turn_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    fn images(&self) -> MutexGuard<'_, BTreeMap<VersionId, Arc<Image>>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, image: Arc<Image>) {
        self.images().insert(image.version, image);
    }

    pub(super) fn get(&self, version: &VersionId) -> Option<Arc<Image>> {
        self.images().get(version).cloned()
    }

    pub(super) fn versions(&self) -> Vec<VersionId> {
        self.images().keys().copied().collect()
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Whether callers are turned away.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(super) fn set_peers(&self, peers: usize) {
        self.peers.store(u16::try_from(peers).unwrap_or(u16::MAX), Ordering::Relaxed);
    }

    pub(super) fn summary(&self, version: &VersionId) -> SwarmSummary {
        let of_image = self.get(version).map(|image| image.summary()).unwrap_or_default();
        SwarmSummary {
            peers: self.peers.load(Ordering::Relaxed),
            sent: self.meter.sent(),
            received: self.meter.received(),
            upload_waited_ms: self.up.waited_ms(),
            download_waited_ms: self.down.waited_ms(),
            turned_away: self.turned_away.load(Ordering::Relaxed),
            ..of_image
        }
    }
}
