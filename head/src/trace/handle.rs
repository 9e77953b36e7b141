//! The rings, shared by all boot services.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wulfpack_shared::id::Mac;
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::time::UnixTime;

use super::ring::{Entry, Rings, Traced};
use crate::fleet::{BootEvent, BootEvents, FleetHandle};

/// A handle; clones share the rings.
#[derive(Clone, Debug)]
pub struct TraceHandle {
    rings: Arc<Mutex<Rings>>,
    clock: ClusterClock,
}

impl TraceHandle {
    /// Nothing was heard yet.
    pub fn new(clock: ClusterClock) -> Self {
        Self { rings: Arc::default(), clock }
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        // Every change leaves the rings whole, so a panic elsewhere does not spoil them.
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry.
    pub fn add(&self, mac: Mac, link: Option<&str>, entry: Entry) {
        let now = self.clock.now();
        self.rings().add(mac, now, link, entry);
    }

    /// What is known of this machine, the oldest first.
    pub fn of(&self, mac: Mac) -> Vec<Traced> {
        self.rings().of(mac)
    }

    /// All machines that something is known of, with the time of the last entry.
    pub fn machines(&self) -> Vec<(Mac, UnixTime)> {
        self.rings().machines()
    }

    /// The head's time.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }
}

/// Takes the events of boot services for the fleet and for the trace.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// The fleet.
    pub fleet: FleetHandle,
    /// The trace.
    pub trace: TraceHandle,
}

impl BootEvents for Recorder {
    fn record(&self, event: BootEvent) {
        let text =
            if event.bytes == 0 { event.detail.clone() } else { format!("{}, {} bytes", event.detail, event.bytes) };
        self.trace.add(event.mac, None, Entry::Step(event.phase.to_string(), text));
        self.fleet.record(event);
    }

    fn warn(&self, text: String) {
        self.fleet.warn(text);
    }
}
