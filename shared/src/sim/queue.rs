//! What happens next: events by time, and in the order of their making where times are equal.
//!
//! A wheel of short slices of time, each sorted when its time comes; what lies beyond one turn of the wheel waits in a heap.
//! So an event costs the same whether ten members are simulated or ten thousand.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Mono;

/// Slices of one turn of the wheel; a power of two.
const SLICES: u64 = 1 << 14;

#[derive(Debug)]
struct Entry<T> {
    at: Mono,
    nth: u64,
    event: T,
}

impl<T> Entry<T> {
    const fn key(&self) -> (Mono, u64) {
        (self.at, self.nth)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
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
        self.key().cmp(&other.key())
    }
}

/// The event queue.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// A slice lasts 2^shift nanoseconds.
    shift: u32,
    /// The slice whose time it is.
    slice: u64,
    /// What is left of it, the last first.
    current: Vec<Entry<T>>,
    /// What was added to it since it was sorted.
    added: BinaryHeap<Reverse<Entry<T>>>,
    wheel: Vec<Vec<Entry<T>>>,
    /// Bits of the slices that are not empty.
    filled: Vec<u64>,
    far: BinaryHeap<Reverse<Entry<T>>>,
    made: u64,
}

impl<T> Queue<T> {
    /// For about so many events in a second.
    pub(super) fn new(events_per_second: u64) -> Self {
        let slice = (32 * 1_000_000_000 / events_per_second.max(1)).clamp(64, 1 << 20);
        let (mut wheel, filled) = (vec![], vec![0; (SLICES / 64) as usize]);
        wheel.resize_with(SLICES as usize, Vec::new);
        let (added, far) = (BinaryHeap::new(), BinaryHeap::new());
        Self { shift: slice.ilog2(), slice: 0, current: vec![], added, wheel, filled, far, made: 0 }
    }

    pub(super) fn push(&mut self, at: Mono, event: T) {
        self.made += 1;
        self.place(Entry { at, nth: self.made, event });
    }

    fn place(&mut self, entry: Entry<T>) {
        let slice = entry.at.0 >> self.shift;
        if slice <= self.slice {
            self.added.push(Reverse(entry));
        } else if slice < self.slice + SLICES {
            let place = (slice % SLICES) as usize;
            self.wheel[place].push(entry);
            self.filled[place / 64] |= 1 << (place % 64);
        } else {
            self.far.push(Reverse(entry));
        }
    }

    /// When the next event happens.
    pub(super) fn next_at(&mut self) -> Option<Mono> {
        if self.current.is_empty() && self.added.is_empty() {
            self.turn();
        }
        let (first, added) = (self.current.last(), self.added.peek().map(|entry| &entry.0));
        first.into_iter().chain(added).map(|entry| entry.at).min()
    }

    pub(super) fn pop(&mut self) -> Option<(Mono, T)> {
        self.next_at()?;
        let from_added = match (self.current.last(), self.added.peek()) {
            (Some(first), Some(added)) => added.0.key() < first.key(),
            (first, _) => first.is_none(),
        };
        let entry = if from_added { self.added.pop().map(|entry| entry.0) } else { self.current.pop() };
        entry.map(|entry| (entry.at, entry.event))
    }

    /// Goes on to the next slice that is not empty.
    fn turn(&mut self) {
        let far = self.far.peek().map(|entry| entry.0.at.0 >> self.shift);
        let Some(next) = self.next_filled().into_iter().chain(far).min() else { return };
        self.slice = next;
        let place = (next % SLICES) as usize;
        core::mem::swap(&mut self.current, &mut self.wheel[place]);
        self.filled[place / 64] &= !(1 << (place % 64));
        self.current.sort_unstable_by(|one, other| other.cmp(one));
        while self.far.peek().is_some_and(|entry| entry.0.at.0 >> self.shift < next + SLICES) {
            let Some(Reverse(entry)) = self.far.pop() else { return };
            self.place(entry);
        }
    }

    /// The first slice after this one that is not empty.
    fn next_filled(&self) -> Option<u64> {
        let words = SLICES / 64;
        let start = (self.slice + 1) % SLICES;
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let mut bits = self.filled[word as usize];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == words {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let place = word * 64 + u64::from(bits.trailing_zeros());
                return Some(self.slice + 1 + (place + SLICES - start) % SLICES);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_come_by_time_and_then_by_the_order_of_their_making(
            steps in prop::collection::vec((any::<bool>(), 0u32..36, any::<u64>()), 0..300), rate in 1u64..1_000_000_000,
        ) {
            let (mut queue, mut model, mut now) = (Queue::new(rate), std::collections::BTreeSet::new(), 0);
            for (nth, (pop, bits, delay)) in (0u64..).zip(steps) {
                if pop {
                    let expected = model.pop_first();
                    prop_assert_eq!(queue.next_at().map(|at| at.0), expected.map(|(at, _)| at));
                    prop_assert_eq!(queue.pop().map(|(at, event)| (at.0, event)), expected);
                    now = expected.map_or(now, |(at, _)| at);
                } else {
                    let at = now + delay % (1 << bits);
                    queue.push(Mono(at), nth);
                    model.insert((at, nth));
                }
            }
            while let Some((at, event)) = queue.pop() {
                prop_assert_eq!(Some((at.0, event)), model.pop_first());
            }
            prop_assert!(model.is_empty());
        }
    }
}
