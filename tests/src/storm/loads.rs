//! Kernel and archives on their way: from the head, and from nodes that are up already (neighbour boot).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use wulfpack_head::boot::neighbour_start;
use wulfpack_shared::time::Mono;

use super::Storm;
use super::link::Shared;
use super::nodes::name;

/// What a machine's own card takes and gives. Bytes per second.
const CARD: f64 = 1e9 / 8.0;
/// Nodes that a script names before the head, and machines that a node gives to at a time (head/src/serve/neighbours.rs,
/// agent/src/neighbour/serve.rs).
const NAMED: usize = 3;
const GIVEN_AT_ONCE: usize = 8;

/// What one download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// All files, or what is left of them, for a machine that then starts its kernel.
    Last,
    /// Kernel and modules from a node that is up.
    Given { by: usize },
    /// The same from the head to a node that is asked for them for the first time.
    Stored,
}

/// A node that is up.
#[derive(Debug)]
struct Giver {
    card: Shared<(usize, What)>,
    /// Has kernel and modules.
    stored: bool,
    /// Machines that it gives to, those that wait until it has them included.
    given: usize,
    waiting: Vec<usize>,
}

/// All downloads.
#[derive(Debug)]
pub(super) struct Loads {
    storm: Storm,
    head: Shared<(usize, What)>,
    givers: BTreeMap<usize, Giver>,
    /// Nodes that are up, by rack.
    up: BTreeMap<usize, Vec<usize>>,
    /// When nodes will be up.
    rising: BinaryHeap<Reverse<(Mono, usize)>>,
    /// Bytes of kernels and archives that the head sends.
    pub(super) head_bytes: u64,
}

impl Loads {
    pub(super) fn new(storm: Storm) -> Self {
        let head = Shared::new(storm.rate / 8.0, CARD);
        Self { storm, head, givers: BTreeMap::new(), up: BTreeMap::new(), rising: BinaryHeap::new(), head_bytes: 0 }
    }

    fn rack(&self, who: usize) -> usize {
        who / (self.storm.rack as usize).max(1)
    }

    /// A machine has its script, and begins.
    pub(super) fn begin(&mut self, now: Mono, who: usize) {
        let Some(by) = self.giver_for(who) else {
            return self.take(now, who, What::Last, self.storm.files);
        };
        let giver = self.givers.entry(by).or_insert_with(|| Giver {
            card: Shared::new(CARD, CARD),
            stored: false,
            given: 0,
            waiting: vec![],
        });
        giver.given += 1;
        if giver.stored {
            giver.card.begin(now, (who, What::Given { by }), self.storm.files - self.storm.agent);
            return;
        }
        giver.waiting.push(who);
        // The first who asks; the others wait for the same.
        if giver.waiting.len() == 1 {
            self.take(now, by, What::Stored, self.storm.files - self.storm.agent);
        }
    }

    fn take(&mut self, now: Mono, who: usize, what: What, bytes: u64) {
        self.head_bytes += bytes;
        self.head.begin(now, (who, what), bytes);
    }

    /// The first of the nodes that its script names which has room.
    fn giver_for(&self, who: usize) -> Option<usize> {
        let up = self.up.get(&self.rack(who)).filter(|_| self.storm.neighbours)?;
        let start = neighbour_start(&name(who as u32), up.len());
        let named = up.iter().cycle().skip(start).take(NAMED.min(up.len()));
        named.copied().find(|by| self.givers.get(by).is_none_or(|giver| giver.given < GIVEN_AT_ONCE))
    }

    /// When something is complete, or a node is up.
    pub(super) fn next(&self) -> Option<Mono> {
        let given = self.givers.values().filter_map(|giver| giver.card.next());
        let rising = self.rising.peek().map(|Reverse((at, _))| *at);
        given.chain(self.head.next()).chain(rising).min()
    }

    /// The machines that start their kernel now.
    pub(super) fn complete(&mut self, now: Mono) -> Vec<usize> {
        while let Some(Reverse((_, who))) = self.rising.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.rising.pop();
            let rack = self.rack(who);
            self.up.entry(rack).or_default().push(who);
        }
        let mut done = self.head.complete(now);
        for giver in self.givers.values_mut() {
            done.extend(giver.card.complete(now));
        }
        let mut started = vec![];
        for (who, what) in done {
            match what {
                What::Last => {
                    started.push(who);
                    self.rising.push(Reverse((now + Duration::from_secs(self.storm.up_s), who)));
                }
                What::Given { by } => {
                    if let Some(giver) = self.givers.get_mut(&by) {
                        giver.given -= 1;
                    }
                    self.take(now, who, What::Last, self.storm.agent);
                }
                What::Stored => {
                    if let Some(giver) = self.givers.get_mut(&who) {
                        giver.stored = true;
                        for other in std::mem::take(&mut giver.waiting) {
                            giver.card.begin(
                                now,
                                (other, What::Given { by: who }),
                                self.storm.files - self.storm.agent,
                            );
                        }
                    }
                }
            }
        }
        started
    }
}
