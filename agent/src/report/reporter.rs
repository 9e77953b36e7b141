//! Whoever has something to tell the head tells it to the reporter, from any task, without waiting.

use std::sync::{Arc, Mutex, PoisonError};

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use wulfpack_shared::wire::{ReportBatch, ReportEvent, ReportKind, SwarmSummary};

use super::Queue;

/// Milliseconds since the kernel started (`CLOCK_BOOTTIME`, clock_gettime(2)): the same in every process of one boot.
pub fn uptime_ms() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        let (secs, nanos) = (u64::try_from(time.tv_sec()), u64::try_from(time.tv_nsec()));
        secs.unwrap_or(0) * 1000 + nanos.unwrap_or(0) / 1_000_000
    })
}

/// A shared [`Queue`] and a bell. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter {
    queue: Arc<Mutex<Queue>>,
    bell: Arc<Notify>,
}

impl Reporter {
    /// A reporter for this queue.
    pub fn new(queue: Queue) -> Self {
        Self { queue: Arc::new(Mutex::new(queue)), bell: Arc::new(Notify::new()) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        work(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds an event, now.
    pub fn tell(&self, kind: ReportKind) {
        self.with(|queue| queue.push(uptime_ms(), kind));
        self.bell.notify_one();
    }

    /// Adds a line of the log.
    pub fn log(&self, line: impl Into<String>) {
        self.tell(ReportKind::Log(line.into()));
    }

    /// Waits until something was added since the last time; returns at once if so.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The next batch for the head.
    pub fn batch(&self, swarm: Option<SwarmSummary>) -> Option<ReportBatch> {
        self.with(|queue| queue.batch(swarm))
    }

    /// The head has recorded everything up to and including `through`.
    pub fn recorded(&self, through: u64) {
        self.with(|queue| queue.recorded(through));
    }

    /// Whether everything was recorded.
    pub fn is_empty(&self) -> bool {
        self.with(|queue| queue.is_empty())
    }

    /// Number of the next event, and the events that wait: for hand-over.
    pub fn parts(&self) -> (u64, Vec<ReportEvent>) {
        let (_, next, waiting) = self.with(|queue| queue.parts());
        (next, waiting)
    }
}
