//! A name taken apart: `r1n02` is the pattern `r…n…` with the numbers 1 and 02.

use std::fmt::Write as _;

use super::number::Number;

/// Stands for a number in a pattern. No name has it, and it sorts before all that names have, as ClusterShell's `%s` does.
const HOLE: char = '\0';

/// The text of a name around its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern(String);

impl Pattern {
    /// More text behind it.
    pub(super) fn push_text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// One more number.
    pub(super) fn push_hole(&mut self) {
        self.0.push(HOLE);
    }

    /// Its text with these in the places of the numbers.
    pub(super) fn fill<T: std::fmt::Display>(&self, numbers: impl IntoIterator<Item = T>) -> String {
        let mut numbers = numbers.into_iter();
        let mut text = String::with_capacity(self.0.len() + 8);
        let mut parts = self.0.split(HOLE);
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            if let Some(number) = numbers.next() {
                // Writing to a String cannot fail.
                _ = write!(text, "{number}");
            }
            text.push_str(part);
        }
        text
    }
}

/// A name, or what stands for many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) pattern: Pattern,
    /// All numbers but the last.
    pub(super) before: Box<[Number]>,
    /// The last number; 0 where the pattern has none.
    pub(super) last: Number,
}

impl Name {
    /// Any text is a name.
    pub(super) fn read(text: &str) -> Self {
        let (mut pattern, mut numbers) = (Pattern(String::with_capacity(text.len())), vec![]);
        for part in parts(text) {
            match Number::read(part) {
                Some(number) => {
                    pattern.push_hole();
                    numbers.push(number);
                }
                None => pattern.push_text(part),
            }
        }
        let last = numbers.pop().unwrap_or(Number(0));
        Self { pattern, before: numbers.into(), last }
    }
}

/// Runs of digits, and of what is no digit, in turn.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let digit = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(part)
    })
}
