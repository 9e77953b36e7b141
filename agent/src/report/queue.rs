//! Events waiting for the head: numbered, bounded, kept until the head has recorded them. Pure.

use std::collections::VecDeque;

use wulfpack_shared::id::BootId;
use wulfpack_shared::limits::{REPORT_EVENTS_MAX, REPORT_TEXT_MAX};
use wulfpack_shared::wire::{ReportBatch, ReportEvent, ReportKind, SwarmSummary};

/// Most events kept while the head is away; log lines give way first.
const KEPT_MAX: usize = 2048;
/// Most events of a process that died of which its saved state does not know.
const UNSAVED_MAX: u64 = 64;

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Queue {
    boot: BootId,
    next: u64,
    waiting: VecDeque<ReportEvent>,
}

impl Queue {
    /// An empty queue of this boot; the first event will have number `next`.
    pub const fn new(boot: BootId, next: u64) -> Self {
        Self { boot, next, waiting: VecDeque::new() }
    }

    /// A queue that goes on where another process of the same boot stopped.
    pub fn resume(boot: BootId, next: u64, waiting: Vec<ReportEvent>) -> Self {
        Self { boot, next, waiting: waiting.into() }
    }

    /// A queue that goes on after another process of the same boot that died. Numbers that it may have used since it last saved
    /// its state are left out: the head takes an event with a number that it knows for one that it has.
    pub fn resume_after_death(boot: BootId, next: u64, waiting: Vec<ReportEvent>) -> Self {
        Self::resume(boot, next + UNSAVED_MAX, waiting)
    }

    /// Adds an event at `at_ms` of the kernel's monotonic clock. Long texts are cut.
    pub fn push(&mut self, at_ms: u64, mut kind: ReportKind) {
        match &mut kind {
            ReportKind::Log(text)
            | ReportKind::Failed { reason: text, .. }
            | ReportKind::Restarted { how: text }
            | ReportKind::Trouble(text) => cut(text),
            ReportKind::System { state, failed } => {
                cut(state);
                failed.truncate(32);
                failed.iter_mut().for_each(cut);
            }
            ReportKind::Reached(_)
            | ReportKind::CorruptFrom { .. }
            | ReportKind::ClockStepped { .. }
            | ReportKind::MemAvailable(_)
            | ReportKind::Used { .. } => {}
        }
        if self.waiting.len() >= KEPT_MAX {
            let victim = self.waiting.iter().position(|event| matches!(event.kind, ReportKind::Log(_))).unwrap_or(0);
            self.waiting.remove(victim);
        }
        self.waiting.push_back(ReportEvent { seq: self.next, at_ms, kind });
        self.next += 1;
    }

    /// The next batch to send, with `swarm` as the state now; `None` if there is nothing to say.
    pub fn batch(&self, swarm: Option<SwarmSummary>) -> Option<ReportBatch> {
        if self.waiting.is_empty() && swarm.is_none() {
            return None;
        }
        let events = self.waiting.iter().take(REPORT_EVENTS_MAX / 8).cloned().collect();
        Some(ReportBatch { boot: self.boot, events, swarm })
    }

    /// The head has recorded everything up to and including `through`.
    pub fn recorded(&mut self, through: u64) {
        while self.waiting.front().is_some_and(|event| event.seq <= through) {
            self.waiting.pop_front();
        }
    }

    /// Whether events wait.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What [`Self::resume`] takes.
    pub fn parts(&self) -> (BootId, u64, Vec<ReportEvent>) {
        (self.boot, self.next, self.waiting.iter().cloned().collect())
    }
}

fn cut(text: &mut String) {
    if text.len() > REPORT_TEXT_MAX {
        let end = (0..=REPORT_TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::limits::CONTROL_REQUEST_MAX;
    use wulfpack_shared::wire::{ControlRequest, Phase, encode};

    use super::*;

    #[test]
    fn events_stay_until_recorded_and_keep_their_numbers() {
        let mut queue = Queue::new(BootId([1; 16]), 1);
        for at in 0..5 {
            queue.push(at, ReportKind::Log(format!("line {at}")));
        }
        assert_eq!(queue.batch(None).unwrap().events.len(), 5);
        queue.recorded(3);
        queue.recorded(2); // a late answer changes nothing
        let left: Vec<_> = queue.batch(None).unwrap().events.iter().map(|event| event.seq).collect();
        assert_eq!(left, [4, 5]);
        let (boot, next, waiting) = queue.parts();
        let mut resumed = Queue::resume(boot, next, waiting);
        resumed.push(9, ReportKind::Reached(Phase::Ready));
        assert_eq!(resumed.batch(None).unwrap().events.last().unwrap().seq, 6);
    }

    #[test]
    fn what_is_told_after_a_death_is_new_to_the_head() {
        let mut queue = Queue::new(BootId([1; 16]), 1);
        queue.push(0, ReportKind::Log("saved".into()));
        let (boot, next, waiting) = queue.parts();
        queue.push(1, ReportKind::Log("sent, and not saved".into()));
        let sent = queue.batch(None).unwrap().events.last().unwrap().seq;
        let mut resumed = Queue::resume_after_death(boot, next, waiting);
        resumed.push(2, ReportKind::Restarted { how: "was ended by SIGKILL".into() });
        let told = resumed.batch(None).unwrap().events;
        assert_eq!(told[0].kind, ReportKind::Log("saved".into()));
        assert!(told[1].seq > sent, "{told:?}");
    }

    #[test]
    fn a_long_silence_costs_log_lines_and_not_phases() {
        let mut queue = Queue::new(BootId([1; 16]), 1);
        queue.push(0, ReportKind::Reached(Phase::Join));
        for _ in 0..KEPT_MAX * 2 {
            queue.push(0, ReportKind::Log("x".into()));
        }
        assert_eq!(queue.batch(None).unwrap().events[0].kind, ReportKind::Reached(Phase::Join));
        assert_eq!(queue.waiting.len(), KEPT_MAX);
    }

    #[test]
    fn the_largest_batch_fits_into_a_request() {
        let mut queue = Queue::new(BootId([1; 16]), 1);
        for _ in 0..REPORT_EVENTS_MAX {
            queue.push(u64::MAX, ReportKind::Log("ä".repeat(REPORT_TEXT_MAX)));
        }
        let batch = queue.batch(Some(SwarmSummary::default())).unwrap();
        let size = encode(&ControlRequest::Report(batch)).len();
        assert!(size <= CONTROL_REQUEST_MAX, "{size}");
    }
}
