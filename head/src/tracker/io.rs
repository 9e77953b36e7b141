//! The tracker of a running head.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use wulfpack_shared::id::{PublicKey, RackName, VersionId};
use wulfpack_shared::net::clock::MonoClock;
use wulfpack_shared::time::Now;
use wulfpack_shared::wire::{PeerInfo, TrackAnswer, TrackRequest};

use super::{AskId, Input, Output, RackCaps, Tracker};

/// A handle to the tracker; clones share it. Every call is short: none waits for anything but another call.
#[derive(Clone, Debug)]
pub struct TrackerHandle {
    tracker: Arc<Mutex<Tracker>>,
    clock: MonoClock,
}

impl TrackerHandle {
    /// A tracker that knows nobody.
    pub fn new(seed: [u8; 32], caps: impl Into<RackCaps>) -> Self {
        Self { tracker: Arc::new(Mutex::new(Tracker::new(seed, caps))), clock: MonoClock::start() }
    }

    fn input(&self, input: Input) -> Option<TrackAnswer> {
        // Each input leaves the tracker whole, so a panic elsewhere does not spoil it.
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Now::mono(self.clock.now());
        tracker.handle_input(now, Input::Tick);
        tracker.handle_input(now, input);
        let mut found = None;
        while let Some(output) = tracker.poll_output() {
            match output {
                Output::Answer { answer, .. } => found = Some(answer),
                Output::Expired(key) => tracing::debug!(?key, "a member of the swarm has fallen silent"),
            }
        }
        found
    }

    /// Announces a member and gives it peers.
    pub fn track(&self, key: PublicKey, rack: Option<RackName>, seen: IpAddr, request: TrackRequest) -> TrackAnswer {
        // One ask at a time under the lock: its number names nothing else.
        let none = TrackAnswer { peers: vec![], rack_size: 0, rack_cap: 0, epoch: 0, revoked: vec![], again_s: 60 };
        self.input(Input::Track { ask: AskId(0), key, rack, seen, request }).unwrap_or(none)
    }

    /// The heads as peers.
    pub fn set_heads(&self, heads: Vec<PeerInfo>) {
        self.input(Input::Heads(heads));
    }

    /// All certificates that no longer count.
    pub fn set_revoked(&self, epoch: u32, keys: Vec<PublicKey>) {
        self.input(Input::Revoked { epoch, keys });
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The images that have a swarm now, and how many members each has.
    pub fn swarms(&self) -> Vec<(VersionId, usize)> {
        self.input(Input::Tick);
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner).swarms().collect()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
