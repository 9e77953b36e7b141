//! Sets of units: a bitmap.

use crate::image::Run;

/// A bitmap that knows how many bits are set. Out of range is never a member and never set.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

const fn place(bit: u32) -> (usize, u64) {
    ((bit / 64) as usize, 1 << (bit % 64))
}

impl Bits {
    pub(super) fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, ones: 0 }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn ones(&self) -> u32 {
        self.ones
    }

    pub(super) const fn is_full(&self) -> bool {
        self.ones == self.len
    }

    pub(super) fn get(&self, bit: u32) -> bool {
        let (word, mask) = place(bit);
        self.words.get(word).is_some_and(|word| word & mask != 0)
    }

    /// Adds a member; false if it was one, or is out of range.
    pub(super) fn set(&mut self, bit: u32) -> bool {
        if bit >= self.len || self.get(bit) {
            return false;
        }
        let (word, mask) = place(bit);
        self.words[word] |= mask;
        self.ones += 1;
        true
    }

    /// Takes a member out; false if it was none.
    pub(super) fn clear(&mut self, bit: u32) -> bool {
        if !self.get(bit) {
            return false;
        }
        let (word, mask) = place(bit);
        self.words[word] &= !mask;
        self.ones -= 1;
        true
    }

    /// The set as words of 64 units; bits beyond its length are 0.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// The members, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.words).flat_map(|(index, &word)| Ones(word).map(move |bit| index * 64 + bit))
    }

    /// The members as ascending runs of any length.
    pub(super) fn runs(&self) -> Vec<Run> {
        runs_of(self.iter())
    }
}

/// Ascending units as runs.
pub(super) fn runs_of(units: impl Iterator<Item = u32>) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    for unit in units {
        match runs.last_mut() {
            Some(run) if run.end() == unit => run.count += 1,
            _ => runs.push(Run::one(unit)),
        }
    }
    runs
}

/// The positions of the set bits of a word, ascending.
#[derive(Clone, Copy)]
pub(super) struct Ones(pub(super) u64);

impl Iterator for Ones {
    type Item = u32;
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_set(len in 1u32..20_000, steps in prop::collection::vec((any::<u32>(), any::<bool>()), 0..300)) {
            let (mut bits, mut set) = (Bits::new(len), BTreeSet::new());
            for (bit, on) in steps {
                let bit = bit % (len + 2); // also out of range
                if on {
                    prop_assert_eq!(bits.set(bit), bit < len && set.insert(bit));
                } else {
                    prop_assert_eq!(bits.clear(bit), set.remove(&bit));
                }
                prop_assert_eq!(bits.ones() as usize, set.len());
            }
            prop_assert!(bits.iter().eq(set.iter().copied()));
            prop_assert!(bits.runs().iter().flat_map(|run| run.iter()).eq(set.iter().copied()));
        }
    }
}
