//! What happens next: events by time, and in the order of their making where times are equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Mono;

#[derive(Debug)]
struct Entry<T> {
    at: Mono,
    nth: u64,
    event: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.nth) == (other.at, other.nth)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

/// The event queue.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    made: u64,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), made: 0 }
    }

    pub(super) fn push(&mut self, at: Mono, event: T) {
        self.made += 1;
        self.heap.push(Reverse(Entry { at, nth: self.made, event }));
    }

    pub(super) fn next_at(&self) -> Option<Mono> {
        self.heap.peek().map(|entry| entry.0.at)
    }

    pub(super) fn pop(&mut self) -> Option<(Mono, T)> {
        self.heap.pop().map(|entry| (entry.0.at, entry.0.event))
    }
}
