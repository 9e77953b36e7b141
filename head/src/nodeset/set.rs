//! Sets of names, and their algebra.

use std::collections::BTreeMap;
use std::ops::Range;

use super::name::{Name, Pattern};
use super::number::Number;
use super::ranges::Ranges;

/// What can be united, intersected and subtracted.
pub(super) trait Set: Clone {
    fn is_empty(&self) -> bool;
    fn union(&mut self, other: &Self);
    fn intersect(&mut self, other: &Self);
    fn subtract(&mut self, other: &Self);
    /// What is in one of both.
    fn toggle(&mut self, other: &Self) {
        let mut both = self.clone();
        both.intersect(other);
        self.union(other);
        self.subtract(&both);
    }
}

/// Sets by key; none of them is empty.
impl<K: Ord + Clone, V: Set> Set for BTreeMap<K, V> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
    fn union(&mut self, other: &Self) {
        for (key, theirs) in other {
            match self.get_mut(key) {
                Some(mine) => mine.union(theirs),
                None => drop(self.insert(key.clone(), theirs.clone())),
            }
        }
    }
    fn intersect(&mut self, other: &Self) {
        self.retain(|key, mine| {
            other.get(key).is_some_and(|theirs| {
                mine.intersect(theirs);
                !mine.is_empty()
            })
        });
    }
    fn subtract(&mut self, other: &Self) {
        for (key, theirs) in other {
            if let Some(mine) = self.get_mut(key) {
                mine.subtract(theirs);
                if mine.is_empty() {
                    self.remove(key);
                }
            }
        }
    }
}

/// Names of one pattern: by all their numbers but the last, the last ones. A name without numbers has the number 0 here, for
/// which its pattern has no place.
pub(super) type Rows = BTreeMap<Box<[Number]>, Ranges>;

/// A set of node names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSet(pub(super) BTreeMap<Pattern, Rows>);

impl NodeSet {
    /// Whether no name is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many names.
    pub fn len(&self) -> usize {
        let count: u64 = self.0.values().flat_map(BTreeMap::values).map(Ranges::len).sum();
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// How many pieces an operation has to look at.
    pub(super) fn pieces(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).map(|last| 1 + last.spans().len()).sum()
    }

    /// Whether this name is in it.
    pub fn contains(&self, name: &str) -> bool {
        let Name { pattern, before, last } = Name::read(name);
        self.0.get(&pattern).and_then(|rows| rows.get(&before)).is_some_and(|ranges| ranges.contains(last))
    }

    /// All names: by pattern, then as people count.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(pattern, rows)| {
            rows.iter().flat_map(move |(before, last)| {
                last.iter().map(move |last| pattern.fill(before.iter().chain(std::iter::once(&last))))
            })
        })
    }

    /// Adds the other's names.
    pub fn union(&mut self, other: &Self) {
        self.0.union(&other.0);
    }

    /// Keeps the names that the other has too.
    pub fn intersect(&mut self, other: &Self) {
        self.0.intersect(&other.0);
    }

    /// Takes the other's names out.
    pub fn subtract(&mut self, other: &Self) {
        self.0.subtract(&other.0);
    }

    /// Keeps the names that are in one of both.
    pub fn toggle(&mut self, other: &Self) {
        self.0.toggle(&other.0);
    }
}

impl<T: AsRef<str>> FromIterator<T> for NodeSet {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut gathered = Gathered::default();
        for name in names {
            let Name { pattern, before, last } = Name::read(name.as_ref());
            gathered.add(pattern, before, &Ranges::one(last));
        }
        gathered.finish()
    }
}

type Spans = Vec<Range<u64>>;

/// Names that come in any order; sorted once at the end.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    spans: BTreeMap<Pattern, BTreeMap<Box<[Number]>, Spans>>,
    count: u64,
}

impl Gathered {
    pub(super) fn add(&mut self, pattern: Pattern, before: Box<[Number]>, last: &Ranges) {
        self.count = self.count.saturating_add(last.len());
        self.spans.entry(pattern).or_default().entry(before).or_default().extend_from_slice(last.spans());
    }

    pub(super) fn add_set(&mut self, set: &NodeSet) {
        for (pattern, rows) in &set.0 {
            rows.iter().for_each(|(before, last)| self.add(pattern.clone(), before.clone(), last));
        }
    }

    /// How many names were added; some of them may be the same.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn finish(self) -> NodeSet {
        let rows = |rows: BTreeMap<_, Spans>| {
            rows.into_iter().map(|(before, spans)| (before, Ranges::collect(spans))).collect()
        };
        NodeSet(self.spans.into_iter().map(|(pattern, grid)| (pattern, rows(grid))).collect())
    }
}
