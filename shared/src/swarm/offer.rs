//! What a peer has for us, or a head for a peer: computed word by word from bitmaps when somebody is to be asked, so that no set
//! of each peer has to follow every change of what is wanted.

use super::bits::Bits;

/// The units that are in both of `all` and in none of `none`. The sets are of one length, or empty in `none`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    all: [&'a [u64]; 2],
    none: [&'a [u64]; 2],
}

impl<'a> Offer<'a> {
    /// What a node is offered: what the peer `has` and it `wanted`, but for what is `hidden`.
    pub(super) fn to_node(has: &'a Bits, wanted: &'a Bits, hidden: Option<&'a Bits>) -> Self {
        Self { all: [has.words(), wanted.words()], none: [hidden.map_or(&[], Bits::words), &[]] }
    }

    /// What a head offers: what it holds, and the peer neither `has` nor was `given`.
    pub(super) fn of_head(held: &'a Bits, has: &'a Bits, given: &'a Bits) -> Self {
        Self { all: [held.words(); 2], none: [has.words(), given.words()] }
    }

    fn word(&self, index: usize) -> u64 {
        let word = |words: &[u64]| words.get(index).copied().unwrap_or(0);
        word(self.all[0]) & word(self.all[1]) & !word(self.none[0]) & !word(self.none[1])
    }

    pub(super) fn get(&self, unit: u32) -> bool {
        self.word((unit / 64) as usize) >> (unit % 64) & 1 == 1
    }

    /// The first at or after `from`.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        let start = (from / 64) as usize;
        let first = self.word(start) & (u64::MAX << (from % 64));
        if first != 0 {
            return Some(from / 64 * 64 + first.trailing_zeros());
        }
        let rest = start + 1..self.all[0].len();
        let index = rest.into_iter().find(|&index| self.word(index) != 0)?;
        Some(u32::try_from(index).ok()? * 64 + self.word(index).trailing_zeros())
    }

    /// The first at or after `from`, else the first of all.
    pub(super) fn next_around(&self, from: u32) -> Option<u32> {
        self.next(from).or_else(|| self.next(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn bits(len: u32, members: &BTreeSet<u32>) -> Bits {
        let mut bits = Bits::new(len);
        for &unit in members {
            bits.set(unit);
        }
        bits
    }

    proptest! {
        #[test]
        fn offers_are_what_sets_say(
            len in 1u32..1000, from in 0u32..1100,
            sets in prop::collection::vec(prop::collection::btree_set(0u32..1000, 0..200), 3),
        ) {
            let sets: Vec<BTreeSet<u32>> =
                sets.iter().map(|set| set.iter().copied().filter(|&unit| unit < len).collect()).collect();
            let [a, b, c] = [0, 1, 2].map(|index| bits(len, &sets[index]));
            let node = |unit: &u32| sets[0].contains(unit) && sets[1].contains(unit) && !sets[2].contains(unit);
            let head = |unit: &u32| sets[0].contains(unit) && !sets[1].contains(unit) && !sets[2].contains(unit);
            let both = |unit: &u32| sets[0].contains(unit) && sets[1].contains(unit);
            for (offer, is) in [
                (Offer::to_node(&a, &b, Some(&c)), &node as &dyn Fn(&u32) -> bool),
                (Offer::of_head(&a, &b, &c), &head),
                (Offer::to_node(&a, &b, None), &both),
            ] {
                let units: Vec<u32> = (0..len).filter(|unit| is(unit)).collect();
                prop_assert_eq!((0..len + 70).filter(|&unit| offer.get(unit)).collect::<Vec<_>>(), units.clone());
                prop_assert_eq!(offer.next(from), units.iter().copied().find(|&unit| unit >= from));
                prop_assert_eq!(offer.next_around(from), units.iter().copied().find(|&unit| unit >= from).or(units.first().copied()));
            }
        }
    }
}
