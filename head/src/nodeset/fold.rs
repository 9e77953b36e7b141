//! A set as a text, folded: the same text as `nodeset -f` prints.
//!
//! With one number in the names that is simple. With several, a set is a list of blocks such as `r[1-2]n[1-32]`, and there are many
//! such lists; ours is ClusterShell's, found in the same steps: begin with single names, unite neighbours that differ in one
//! place only, sort, and again until nothing changes.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use super::number::Number;
use super::ranges::Ranges;
use super::set::{NodeSet, Rows, Set as _};

/// Above so many names of one pattern folding begins with rows instead of single names: a text of the same set, perhaps not
/// ClusterShell's, which takes minutes for it.
const SINGLE_MAX: u64 = 32_768;
/// Most comparisons of blocks; after that the text stays longer than it had to be.
const COMPARISONS_MAX: usize = 4_000_000;

/// The numbers that a block has in each place.
type Block = Vec<Ranges>;

impl fmt::Display for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (pattern, rows) in &self.0 {
            for block in blocks(rows) {
                write!(f, "{comma}{}", pattern.fill(block.iter().map(Bracketed)))?;
                comma = ",";
            }
        }
        Ok(())
    }
}

/// `[1-4]`, or a number that is alone.
struct Bracketed<'a>(&'a Ranges);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 1 { write!(f, "[{}]", self.0) } else { self.0.fmt(f) }
    }
}

fn blocks(rows: &Rows) -> Vec<Block> {
    let single = |(before, last): (&[Number], Ranges)| -> Block {
        before.iter().map(|number| Ranges::one(*number)).chain([last]).collect()
    };
    if let Some(block) = whole_block(rows) {
        return vec![block];
    }
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_by_cached_key(|(before, _)| before.iter().map(|number| number.by_text()).collect::<Vec<_>>());
    if rows.values().map(Ranges::len).sum::<u64>() > SINGLE_MAX {
        return unite(sorted.into_iter().map(|(before, last)| single((before, last.clone()))).collect());
    }
    // The first pass on the way: no need to hold all single names.
    let mut blocks: Vec<Block> = vec![];
    for (before, last) in sorted {
        let mut numbers: Vec<_> = last.iter().collect();
        numbers.sort_by_key(|number| number.by_text());
        for number in numbers {
            let next = single((before, Ranges::one(number)));
            match blocks.last_mut().and_then(|block| Some((only_difference(block, &next)?, block))) {
                Some((place, block)) => block[place].union(&next[place]),
                None => blocks.push(next),
            }
        }
    }
    unite(blocks)
}

/// The one block that all of it is, if it is one.
fn whole_block(rows: &Rows) -> Option<Block> {
    let (before, last) = rows.first_key_value()?;
    if rows.values().any(|other| other != last) {
        return None;
    }
    let place = |place: usize| -> BTreeSet<u64> { rows.keys().filter_map(|row| Some(row.get(place)?.0)).collect() };
    let mut block: Block = vec![];
    let mut count = 1_usize;
    for numbers in (0..before.len()).map(place) {
        count = count.saturating_mul(numbers.len());
        block.push(Ranges::collect(numbers.into_iter().map(|number| number..number + 1).collect()));
    }
    block.push(last.clone());
    (count == rows.len()).then_some(block)
}

/// The place where two blocks differ, if it is the only one. Blocks do not overlap, so that there they have nothing in common.
fn only_difference(one: &[Ranges], other: &[Ranges]) -> Option<usize> {
    let mut places = one.iter().zip(other).enumerate().filter(|(_, (one, other))| one != other).map(|(place, _)| place);
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

/// Unites blocks that differ in one place: neighbours while that helps, then every one with every other.
fn unite(mut blocks: Vec<Block>) -> Vec<Block> {
    let (mut every, mut compared) = (false, 0);
    loop {
        blocks.sort_by_cached_key(|block| key(block));
        let (mut changed, mut first) = (false, 0);
        while first + 1 < blocks.len() {
            let mut second = first + 1;
            while let Some(other) = blocks.get(second) {
                compared += 1;
                if compared > COMPARISONS_MAX {
                    return blocks;
                }
                if let Some(place) = only_difference(&blocks[first], other) {
                    let other = blocks.remove(second);
                    blocks[first][place].union(&other[place]);
                    changed = true;
                } else if every {
                    second += 1;
                } else {
                    break;
                }
            }
            first += 1;
        }
        if !changed {
            if every {
                return blocks;
            }
            every = true;
        }
    }
}

/// Blocks of many names first; then of many numbers in the first place, of low ones there (as texts), and so on.
fn key(block: &[Ranges]) -> (Reverse<u64>, Vec<impl Ord + use<>>) {
    let place = |ranges: &Ranges| {
        let ends = ranges.ends().map(|(first, last)| (first.by_text(), last.by_text()));
        (Reverse(ranges.len()), ends)
    };
    (Reverse(block.iter().map(Ranges::len).product()), block.iter().map(place).collect())
}
