//! Addresses of a range that are looked at before they are offered: whose they are is asked by ARP, and the machine waits.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use wulfpack_shared::id::Mac;
use wulfpack_shared::time::Mono;

/// How long an answer is waited for. A host on the same segment takes a few milliseconds.
const WAIT: Duration = Duration::from_millis(300);
/// Most machines that wait at a time; others ask again by themselves.
const MOST: usize = 1024;

/// A machine that waits for its offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) link: usize,
    pub(super) mac: Mac,
    /// Its DISCOVER.
    pub(super) bytes: Vec<u8>,
    /// How many addresses before this one were in use.
    pub(super) tried: u8,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: BTreeMap<Ipv4Addr, (Mono, Waiting)>,
    by_end: BTreeSet<(Mono, Ipv4Addr)>,
}

impl Pending {
    /// Whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MOST
    }

    pub(super) fn wait(&mut self, now: Mono, address: Ipv4Addr, waiting: Waiting) {
        self.take(address);
        self.by_end.insert((now + WAIT, address));
        self.waiting.insert(address, (now + WAIT, waiting));
    }

    pub(super) fn is_looked_at(&self, address: Ipv4Addr) -> bool {
        self.waiting.contains_key(&address)
    }

    /// Whoever waits for this address.
    pub(super) fn take(&mut self, address: Ipv4Addr) -> Option<Waiting> {
        let (end, waiting) = self.waiting.remove(&address)?;
        self.by_end.remove(&(end, address));
        Some(waiting)
    }

    /// One whose wait is over: nobody uses the address.
    pub(super) fn next_done(&mut self, now: Mono) -> Option<(Ipv4Addr, Waiting)> {
        let (_, address) = self.by_end.first().copied().filter(|(end, _)| *end <= now)?;
        Some((address, self.take(address)?))
    }

    pub(super) fn next_end(&self) -> Option<Mono> {
        self.by_end.first().map(|(end, _)| *end)
    }
}
