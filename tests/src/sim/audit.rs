//! Whether what was carried can have been carried: no link beyond its rate, no unit sent before its sender had verified it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use serde::{Deserialize, Serialize};
use wulfpack_shared::sim::{Spec, Transfer};
use wulfpack_shared::time::Mono;

/// The links that an audit goes by. Rates are bytes a second; 0 is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plant {
    /// Of each member, each way; the heads come first.
    pub rates: Vec<u64>,
    /// The rack of each.
    pub racks: Vec<u16>,
    /// Of each rack, each way; a rack beyond the end has no link that could be narrow.
    pub rack_rates: Vec<u64>,
    /// Heads; they hold everything.
    pub heads: u32,
}

impl From<&Spec> for Plant {
    fn from(spec: &Spec) -> Self {
        Self {
            rates: spec.members.iter().map(|member| member.rate).collect(),
            racks: spec.members.iter().map(|member| member.rack).collect(),
            rack_rates: spec.rack_rates.clone(),
            heads: spec.heads,
        }
    }
}

/// A link in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Up(u32),
    Down(u32),
    OutOf(u16),
    Into(u16),
}

/// So many bytes were carried within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    from: Mono,
    until: Mono,
    bytes: u32,
}

/// Collects what was carried.
#[derive(Clone, Debug)]
pub struct Audit {
    plant: Plant,
    loads: BTreeMap<Lane, Vec<Load>>,
    verified: BTreeMap<(u32, u32), Mono>,
    sent: Vec<(Mono, u32, u32)>,
}

impl Audit {
    /// Of these links.
    pub fn new(plant: Plant) -> Self {
        Self { plant, loads: BTreeMap::new(), verified: BTreeMap::new(), sent: vec![] }
    }

    /// A piece was carried.
    pub fn transfer(&mut self, transfer: &Transfer) {
        let &Transfer { from, to, unit, bytes, begun, sent, left_rack, entered_rack, received } = transfer;
        let mut load = |lane, until| self.loads.entry(lane).or_default().push(Load { from: begun, until, bytes });
        load(Lane::Up(from), sent);
        load(Lane::Down(to), received);
        let rack = |member: u32| self.plant.racks.get(member as usize).copied().unwrap_or(u16::MAX);
        if rack(from) != rack(to) {
            load(Lane::OutOf(rack(from)), left_rack);
            load(Lane::Into(rack(to)), entered_rack);
        }
        self.sent.push((begun, from, unit));
    }

    /// A member verified a unit.
    pub fn verified(&mut self, at: Mono, member: u32, unit: u32) {
        self.verified.entry((member, unit)).or_insert(at);
    }

    fn rate(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Up(member) | Lane::Down(member) => self.plant.rates.get(member as usize).copied().unwrap_or(1),
            Lane::OutOf(rack) | Lane::Into(rack) => {
                self.plant.rack_rates.get(usize::from(rack)).copied().unwrap_or_default()
            }
        }
    }

    /// What cannot have been, at most 20 of it.
    pub fn findings(&self) -> Vec<String> {
        let early = self.sent.iter().filter(|(begun, from, unit)| {
            *from >= self.plant.heads && self.verified.get(&(*from, *unit)).is_none_or(|at| at > begun)
        });
        let early = early
            .map(|(begun, from, unit)| format!("{begun:?}: member {from} sends unit {unit} before it has verified it"));
        let late = self.loads.iter().filter_map(|(&lane, loads)| {
            let late = first_late(loads, self.rate(lane))?;
            Some(format!("{lane:?} carries more than its rate of {} B/s by {late:?}", self.rate(lane)))
        });
        early.chain(late).take(20).collect()
    }
}

/// Whether one link can carry all loads, each within its time: earliest deadline first does if anything does. The end of
/// the first that cannot be met. Each load is allowed a nanosecond for rounding.
fn first_late(loads: &[Load], rate: u64) -> Option<Mono> {
    if rate == 0 {
        return None;
    }
    let nanos = |bytes: u32| (u64::from(bytes) * 1_000_000_000 / rate).saturating_sub(1);
    let mut loads = loads.to_vec();
    loads.sort_unstable();
    let mut coming = loads.iter().peekable();
    let (mut open, mut now) = (BinaryHeap::new(), 0);
    loop {
        if open.is_empty() {
            now = now.max(coming.peek()?.from.0);
        }
        while let Some(load) = coming.next_if(|load| load.from.0 <= now) {
            open.push(Reverse((load.until.0, nanos(load.bytes))));
        }
        let Some(Reverse((until, left))) = open.pop() else { continue };
        let next = coming.peek().map_or(u64::MAX, |load| load.from.0);
        let done = left.min(next - now);
        now += done;
        if now > until {
            return Some(Mono(until));
        }
        if done < left {
            open.push(Reverse((until, left - done)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(from: u64, until: u64, bytes: u32) -> Load {
        Load { from: Mono(from), until: Mono(until), bytes }
    }

    #[test]
    fn loads_that_fit_pass_and_one_byte_a_second_more_does_not() {
        let rate = 1_000_000_000; // a byte a nanosecond
        let fits = [load(0, 100, 100), load(50, 400, 200), load(0, 500, 200), load(150, 200, 50)];
        assert_eq!(first_late(&fits, rate), Some(Mono(500)), "550 ns of work in 500");
        assert_eq!(first_late(&fits[..3], rate), None);
        assert_eq!(first_late(&[load(0, 100, 120)], rate), Some(Mono(100)));
        assert_eq!(first_late(&[load(0, 100, 60), load(0, 100, 60)], rate), Some(Mono(100)));
        assert_eq!(first_late(&[load(0, 1, 60)], 0), None);
    }

    #[test]
    fn a_unit_sent_before_it_was_verified_is_found() {
        let plant = Plant { rates: vec![0; 3], racks: vec![0; 3], rack_rates: vec![], heads: 1 };
        let transfer = |from, begun| Transfer {
            from,
            to: 2,
            unit: 7,
            bytes: 1,
            begun,
            sent: begun,
            left_rack: begun,
            entered_rack: begun,
            received: begun,
        };
        let mut audit = Audit::new(plant);
        audit.transfer(&transfer(0, Mono(1)));
        audit.verified(Mono(5), 1, 7);
        audit.transfer(&transfer(1, Mono(5)));
        assert_eq!(audit.findings(), Vec::<String>::new());
        audit.transfer(&transfer(1, Mono(4)));
        audit.transfer(&transfer(2, Mono(9)));
        assert_eq!(audit.findings().len(), 2);
    }
}
