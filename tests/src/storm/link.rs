//! The head's link: packets one after the other, and downloads that share what it has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use wulfpack_shared::time::Mono;

/// Packets that wait at the card (`txqueuelen`); more are dropped.
const BACKLOG: u64 = 1000 * 1514;
/// Headers of Ethernet, IP and UDP with preamble and gap. Bytes.
const FRAME: u64 = 66;

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Wire {
    /// Bytes per second.
    rate: f64,
    free: Mono,
    pub(super) dropped: u64,
}

impl Wire {
    pub(super) fn new(rate: f64) -> Self {
        Self { rate, free: Mono::ZERO, dropped: 0 }
    }

    /// When a packet of this payload is at the other end; `None` if there was no room for it.
    pub(super) fn send(&mut self, now: Mono, payload: usize) -> Option<Mono> {
        let queued = self.free.since(now).as_secs_f64() * self.rate;
        if queued > BACKLOG as f64 {
            self.dropped += 1;
            return None;
        }
        let takes = Duration::from_secs_f64((payload as u64 + FRAME) as f64 / self.rate);
        self.free = self.free.max(now) + takes;
        Some(self.free + Duration::from_micros(100))
    }
}

/// Downloads of equal right on one link, each at no more than its own card's rate.
#[derive(Debug)]
pub(super) struct Shared<T> {
    rate: f64,
    each: f64,
    now: Mono,
    /// Bytes that a download has got since the beginning of time.
    served: f64,
    running: BinaryHeap<Reverse<(u64, T)>>,
}

impl<T: Copy + Ord> Shared<T> {
    pub(super) fn new(rate: f64, each: f64) -> Self {
        Self { rate, each, now: Mono::ZERO, served: 0.0, running: BinaryHeap::new() }
    }

    fn speed(&self) -> f64 {
        self.each.min(self.rate / self.running.len().max(1) as f64)
    }

    fn advance(&mut self, now: Mono) {
        self.served += now.since(self.now).as_secs_f64() * self.speed();
        self.now = now;
    }

    pub(super) fn begin(&mut self, now: Mono, who: T, bytes: u64) {
        self.advance(now);
        self.running.push(Reverse((self.served as u64 + bytes, who)));
    }

    /// When the next download is complete.
    pub(super) fn next(&self) -> Option<Mono> {
        let Reverse((at, _)) = self.running.peek()?;
        let left = (*at as f64 - self.served).max(0.0);
        Some(self.now + Duration::from_secs_f64(left / self.speed()) + Duration::from_nanos(1))
    }

    /// Who is complete now.
    pub(super) fn complete(&mut self, now: Mono) -> Vec<T> {
        self.advance(now);
        let mut done = vec![];
        while let Some(Reverse((at, who))) = self.running.peek() {
            if *at as f64 > self.served + 1.0 {
                break;
            }
            done.push(*who);
            self.running.pop();
        }
        done
    }
}
