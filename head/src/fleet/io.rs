//! The fleet of a running head: a handle for everybody who has something to tell or to ask, and the task that writes to the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use wulfpack_shared::net::clock::{ClusterClock, MonoClock};

use super::{BootEvent, BootEvents, Fleet, Input, Output, Severity};
use crate::store::{Store, StoreError};

/// How long to wait before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// A handle to the fleet; clones share it.
#[derive(Clone, Debug)]
pub struct FleetHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    fleet: Mutex<Fleet>,
    clock: ClusterClock,
    mono: MonoClock,
    probes: mpsc::UnboundedSender<Output>,
    /// Something is to be written.
    dirty: Notify,
    /// Version of the fleet that is in the store.
    written: watch::Sender<u64>,
    /// Version of the fleet.
    changed: watch::Sender<u64>,
}

impl FleetHandle {
    /// The fleet as the store knows it, and the login checks that it asks for.
    pub fn open(store: &dyn Store, clock: ClusterClock) -> Result<(Self, mpsc::UnboundedReceiver<Output>), StoreError> {
        let (probes, asked) = mpsc::unbounded_channel();
        let mut fleet = Fleet::new(store.boots()?);
        while let Some(probe) = fleet.poll_output() {
            probes.send(probe).unwrap_or_default();
        }
        let (written, changed) = (watch::Sender::new(0), watch::Sender::new(0));
        let (fleet, mono, dirty) = (Mutex::new(fleet), MonoClock::start(), Notify::new());
        Ok((Self(Arc::new(Shared { fleet, clock, mono, probes, dirty, written, changed })), asked))
    }

    fn lock(&self) -> MutexGuard<'_, Fleet> {
        // Each input leaves the fleet whole, so a panic elsewhere does not spoil it.
        self.0.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the fleet something. It will be in the store soon.
    pub fn tell(&self, input: Input) -> u64 {
        let now = self.0.mono.stamp(&self.0.clock);
        let mut fleet = self.lock();
        fleet.handle_input(now, input);
        while let Some(probe) = fleet.poll_output() {
            // Nobody checks logins while the head shuts down.
            self.0.probes.send(probe).unwrap_or_default();
        }
        let version = fleet.version();
        drop(fleet);
        self.0.dirty.notify_one();
        self.0.changed.send_replace(version);
        version
    }

    /// Tells the fleet something and returns when it is in the store; `false` if the head shuts down before.
    pub async fn tell_durably(&self, input: Input) -> bool {
        self.tell_all_durably([input]).await
    }

    /// Tells the fleet these things and returns when they are in the store, together; `false` if the head shuts down before.
    pub async fn tell_all_durably(&self, inputs: impl IntoIterator<Item = Input>) -> bool {
        let mut written = self.0.written.subscribe();
        let Some(version) = inputs.into_iter().map(|input| self.tell(input)).last() else { return true };
        written.wait_for(|at| *at >= version).await.is_ok_and(|at| *at != u64::MAX)
    }

    /// Looks at the fleet.
    pub fn look<T>(&self, look: impl FnOnce(&Fleet) -> T) -> T {
        look(&self.lock())
    }

    /// Changes with every input.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Changes whenever something was written to the store.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.written.subscribe()
    }

    /// Writes what changes to the store, until `stop` says so; then once more. Many changes become one flush of the disk.
    pub async fn write_to(self, store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                () = self.0.dirty.notified() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            self.flush(&store).await;
            if stopping {
                // Whoever still waits learns that no more is written.
                self.0.written.send_replace(u64::MAX);
                return;
            }
        }
    }

    async fn flush(&self, store: &Arc<dyn Store>) {
        let (batch, version) = {
            let mut fleet = self.lock();
            (Arc::new(fleet.take_batch()), fleet.version())
        };
        for attempt in 0..3 {
            let (store, batch) = (Arc::clone(store), Arc::clone(&batch));
            match tokio::task::spawn_blocking(move || {
                batch.is_empty()
                    || store.write(&batch).map_err(|error| tracing::error!(%error, "boots are not recorded")).is_ok()
            })
            .await
            {
                Ok(true) => break,
                _ if attempt < 2 => tokio::time::sleep(RETRY).await,
                _ => tracing::error!(
                    "a batch of boot records is lost; `wulf boot report` is right again with the next report of each node"
                ),
            }
        }
        self.0.written.send_replace(version);
    }
}

impl BootEvents for FleetHandle {
    fn record(&self, event: BootEvent) {
        self.tell(Input::Boot(event));
    }

    fn warn(&self, text: String) {
        self.tell(Input::Event { severity: Severity::Warning, node: None, text });
    }
}
