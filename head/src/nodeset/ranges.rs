//! Sets of numbers as sorted spans: `1-10000` is five of them, one for each width.

use std::fmt;
use std::ops::Range;

use super::number::Number;
use super::set::Set;

/// A set of numbers. Its spans are sorted, and neither overlap nor touch, so that equal sets look the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// From spans in any order.
    pub(super) fn collect(mut spans: Vec<Range<u64>>) -> Self {
        spans.sort_by_key(|span| span.start);
        let mut merged: Vec<Range<u64>> = vec![];
        for span in spans.into_iter().filter(|span| !span.is_empty()) {
            match merged.last_mut() {
                Some(last) if last.end >= span.start => last.end = last.end.max(span.end),
                _ => merged.push(span),
            }
        }
        Self(merged)
    }

    /// One number.
    pub(super) fn one(number: Number) -> Self {
        Self(std::iter::once(number.0..number.0 + 1).collect())
    }

    /// Its spans.
    pub(super) fn spans(&self) -> &[Range<u64>] {
        &self.0
    }

    /// How many numbers.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|span| span.end - span.start).sum()
    }

    pub(super) fn contains(&self, number: Number) -> bool {
        let after = self.0.partition_point(|span| span.start <= number.0);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|span| span.contains(&number.0))
    }

    /// The lowest number and the highest.
    pub(super) fn ends(&self) -> Option<(Number, Number)> {
        Some((Number(self.0.first()?.start), Number(self.0.last()?.end - 1)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Number> {
        self.0.iter().cloned().flatten().map(Number)
    }

    /// First and last of each run of numbers of one width.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Number, Number)> {
        self.0.iter().flat_map(|span| {
            let mut start = span.start;
            std::iter::from_fn(move || {
                let first = (start < span.end).then_some(Number(start))?;
                let last = Number(first.widest().0.min(span.end - 1));
                start = last.0 + 1;
                Some((first, last))
            })
        })
    }

    /// What `keep` says of being in this set and in the other, at every number.
    fn combine(&self, other: &Self, keep: impl Fn(bool, bool) -> bool) -> Self {
        let edges = |ranges: &Self| ranges.0.iter().flat_map(|span| [span.start, span.end]).collect::<Vec<_>>();
        let (mine, theirs) = (edges(self), edges(other));
        let (mut i, mut j, mut open, mut spans) = (0, 0, None, vec![]);
        loop {
            let (a, b) = (mine.get(i), theirs.get(j));
            let Some(&at) = a.into_iter().chain(b).min() else { break };
            i += usize::from(a == Some(&at));
            j += usize::from(b == Some(&at));
            // An odd number of edges lies behind: inside.
            match (open, keep(i % 2 == 1, j % 2 == 1)) {
                (None, true) => open = Some(at),
                (Some(start), false) => {
                    spans.push(start..at);
                    open = None;
                }
                _ => {}
            }
        }
        Self(spans)
    }
}

impl Set for Ranges {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn union(&mut self, other: &Self) {
        // Lists come sorted: then there is nothing to move.
        match (self.0.last(), other.0.first()) {
            (Some(last), Some(first)) if last.end < first.start => self.0.extend_from_slice(&other.0),
            _ => *self = self.combine(other, |a, b| a || b),
        }
    }
    fn intersect(&mut self, other: &Self) {
        *self = self.combine(other, |a, b| a && b);
    }
    fn subtract(&mut self, other: &Self) {
        *self = self.combine(other, |a, b| a && !b);
    }
}

/// As ClusterShell folds it: `1-3,7`. A padded run goes on while the width is the same, one without padding over widths. Padding
/// also sticks to single numbers behind a padded single number: `05,99,100`.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(Number, Number)> = vec![];
        let mut padded = false;
        for (first, last) in self.runs() {
            match runs.last_mut() {
                None => padded = first.is_padded(),
                Some((_, end)) if !padded && end.precedes(first) => {
                    *end = last;
                    continue;
                }
                Some((start, end)) => {
                    let width_counts = padded && end.width() != first.width();
                    if width_counts || (!padded && first.is_padded()) || start != end {
                        padded = first.is_padded();
                    }
                }
            }
            runs.push((first, last));
        }
        for (place, (first, last)) in runs.into_iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}
