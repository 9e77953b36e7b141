//! Rarest first: units in buckets by the number of known copies.

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::offer::Offer;

/// How many units are looked at from the rarest on before chance decides.
const LOOKS: u32 = 256;
/// How many units chance then compares.
const SAMPLES: u32 = 16;
/// The position of a unit that is not to be picked.
const OUT: u32 = u32::MAX;

/// A uniform number below `n` (0 if `n` is 0), with a bias below 2^-32 * n.
pub(super) fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(n)) >> 32) as u32
}

/// The units that may be picked, by the number of copies. Every change costs O(1).
#[derive(Clone, Debug)]
pub(super) struct Picker {
    copies: Vec<u16>,
    pos: Vec<u32>,
    buckets: Vec<Vec<u32>>,
    len: u32,
}

impl Picker {
    pub(super) fn new(units: u32) -> Self {
        Self { copies: vec![0; units as usize], pos: vec![OUT; units as usize], buckets: vec![vec![]], len: 0 }
    }

    /// Units that may be picked.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Units that may be picked and have so many copies.
    pub(super) fn with_copies(&self, copies: u16) -> &[u32] {
        self.buckets.get(usize::from(copies)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn copies(&self, unit: u32) -> u16 {
        self.copies.get(unit as usize).copied().unwrap_or(0)
    }

    pub(super) fn contains(&self, unit: u32) -> bool {
        self.pos.get(unit as usize).is_some_and(|&pos| pos != OUT)
    }

    pub(super) fn insert(&mut self, unit: u32) {
        if (unit as usize) < self.pos.len() && !self.contains(unit) {
            self.len += 1;
            self.link(unit);
        }
    }

    pub(super) fn remove(&mut self, unit: u32) {
        if self.contains(unit) {
            self.len -= 1;
            self.unlink(unit);
        }
    }

    /// One more copy is known.
    pub(super) fn gained(&mut self, unit: u32) {
        self.recount(unit, |copies| copies.saturating_add(1));
    }

    /// One copy less.
    pub(super) fn lost(&mut self, unit: u32) {
        self.recount(unit, |copies| copies.saturating_sub(1));
    }

    fn recount(&mut self, unit: u32, count: impl Fn(u16) -> u16) {
        let Some(copies) = self.copies.get(unit as usize).copied() else { return };
        let linked = self.contains(unit);
        if linked {
            self.unlink(unit);
        }
        self.copies[unit as usize] = count(copies);
        if linked {
            self.link(unit);
        }
    }

    fn link(&mut self, unit: u32) {
        let copies = usize::from(self.copies[unit as usize]);
        if self.buckets.len() <= copies {
            self.buckets.resize_with(copies + 1, Vec::new);
        }
        let bucket = &mut self.buckets[copies];
        self.pos[unit as usize] = u32::try_from(bucket.len()).unwrap_or(OUT);
        bucket.push(unit);
    }

    fn unlink(&mut self, unit: u32) {
        let bucket = &mut self.buckets[usize::from(self.copies[unit as usize])];
        let pos = self.pos[unit as usize] as usize;
        bucket.swap_remove(pos);
        if let Some(&moved) = bucket.get(pos) {
            self.pos[moved as usize] = pos as u32;
        }
        self.pos[unit as usize] = OUT;
    }

    /// A rarest unit of `offered`, ties broken by chance. Exact if it is among the 256 rarest with `least` or more copies;
    /// beyond, the rarest of sixteen random ones of `offered`. At most 256 looks and 16 searches of M / 64 words.
    pub(super) fn rarest(&self, rng: &mut ChaCha8Rng, least: u16, offered: &Offer<'_>) -> Option<u32> {
        let mut looks = LOOKS;
        for bucket in self.buckets.iter().skip(usize::from(least)) {
            let len = u32::try_from(bucket.len()).unwrap_or(u32::MAX);
            let start = below(rng, len);
            for step in 0..len.min(looks) {
                let at = (u64::from(start) + u64::from(step)) % u64::from(len);
                let unit = bucket[at as usize];
                if offered.get(unit) {
                    return Some(unit);
                }
            }
            looks = looks.saturating_sub(len);
            if looks == 0 {
                return self.sample(rng, least, offered);
            }
        }
        None
    }

    fn sample(&self, rng: &mut ChaCha8Rng, least: u16, offered: &Offer<'_>) -> Option<u32> {
        let units = u32::try_from(self.pos.len()).unwrap_or(u32::MAX);
        (0..SAMPLES)
            .map_while(|_| offered.next_around(below(rng, units)))
            .filter(|&unit| self.contains(unit) && self.copies(unit) >= least)
            .min_by_key(|&unit| self.copies(unit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_core::SeedableRng;

    use super::super::bits::Bits;
    use super::*;

    fn bits(units: u32, members: impl Iterator<Item = u32>) -> Bits {
        let mut bits = Bits::new(units);
        for unit in members {
            bits.set(unit);
        }
        bits
    }

    fn only(bits: &Bits) -> Offer<'_> {
        Offer::to_node(bits, bits, None)
    }

    proptest! {
        #[test]
        fn picks_a_rarest_offered_unit(
            copies in prop::collection::vec(0u16..6, 1..200),
            out in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
            offer in any::<u64>(), seed: u64,
        ) {
            let units = copies.len() as u32;
            let mut picker = Picker::new(units);
            for (unit, &copies) in (0..).zip(&copies) {
                if unit % 2 == 0 { picker.insert(unit); }
                (0..copies).for_each(|_| picker.gained(unit));
                picker.insert(unit);
            }
            for index in out { picker.remove(index.index(copies.len()) as u32); }
            let offered = bits(units, (0..units).filter(|unit| offer >> (unit % 64) & 1 == 1 && picker.contains(*unit)));
            let best = (0..units).filter(|&unit| offered.get(unit) && picker.copies(unit) > 0).map(|unit| picker.copies(unit)).min();
            let got = picker.rarest(&mut ChaCha8Rng::seed_from_u64(seed), 1, &only(&offered));
            prop_assert_eq!(got.map(|unit| picker.copies(unit)), best);
            prop_assert!(got.is_none_or(|unit| offered.get(unit)));
        }

        #[test]
        fn counts_survive_any_order_of_changes(steps in prop::collection::vec((0u32..50, 0u8..4), 0..400)) {
            let mut picker = Picker::new(50);
            let mut model = vec![(0u16, false); 50];
            for (unit, what) in steps {
                let entry = &mut model[unit as usize];
                match what {
                    0 => { picker.insert(unit); entry.1 = true; }
                    1 => { picker.remove(unit); entry.1 = false; }
                    2 => { picker.gained(unit); entry.0 += 1; }
                    _ => { picker.lost(unit); entry.0 = entry.0.saturating_sub(1); }
                }
                prop_assert_eq!(picker.len() as usize, model.iter().filter(|entry| entry.1).count());
            }
            for (unit, &(copies, inside)) in (0..).zip(&model) {
                prop_assert_eq!(picker.copies(unit), copies);
                prop_assert_eq!(picker.with_copies(copies).contains(&unit), inside);
            }
        }
    }

    #[test]
    fn ties_fall_to_chance() {
        let mut picker = Picker::new(100);
        for unit in 0..100 {
            picker.gained(unit);
            picker.insert(unit);
        }
        let offered = bits(100, 0..100);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let picked: std::collections::BTreeSet<_> =
            (0..64).map(|_| picker.rarest(&mut rng, 1, &only(&offered))).collect();
        assert!(picked.len() > 30, "{} different picks of 64", picked.len());
    }

    #[test]
    fn an_offer_of_common_units_only_is_found_beyond_the_looks() {
        let mut picker = Picker::new(5000);
        for unit in 0..5000 {
            picker.gained(unit);
            if unit >= 4990 {
                picker.gained(unit);
            }
            picker.insert(unit);
        }
        let offered = bits(5000, 4990..5000);
        let got = picker.rarest(&mut ChaCha8Rng::seed_from_u64(1), 1, &only(&offered));
        assert!(got.is_some_and(|unit| unit >= 4990));
    }
}
