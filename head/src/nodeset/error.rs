//! Why a text is no nodeset, at which character, and what was probably meant.

use std::fmt;

use super::groups::GroupError;

/// Most characters of the text that a message shows.
const SHOWN: usize = 60;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// Nothing but blanks.
    #[error("it names no node; all nodes are @*")]
    Empty,
    /// Nothing before or behind an operator.
    #[error("a nodeset is missing {side} {operator:?}")]
    NoOperand {
        /// `before` or `behind`.
        side: &'static str,
        /// The operator.
        operator: char,
    },
    /// `n[1`.
    #[error("a '[' without ']'")]
    NotClosed,
    /// `n1]`.
    #[error("a ']' without '['")]
    NotOpened,
    /// `n[1[2]]`.
    #[error("brackets within brackets; write all numbers into one pair, with commas")]
    Nested,
    /// `n[1-2][3-4]`.
    #[error("two ranges make one number; put a letter or '-' between them")]
    TwoRanges,
    /// `n[1,]`.
    #[error("a number is missing; write n[1-4,7]")]
    NoNumber,
    /// `n[a-b]`.
    #[error("{0:?} is not a number; write n[1-4,7]")]
    NotANumber(String),
    /// `n[3-1]`.
    #[error("the range counts down; write {last}-{first}")]
    CountsDown {
        /// As it was written.
        first: String,
        /// As it was written.
        last: String,
    },
    /// `n[01-100]`.
    #[error("both ends of a padded range have the same number of digits; write {0}")]
    Padding(String),
    /// `n[1-9/0]`, `n[1/2]`.
    #[error("a step is a number from 1 on, behind a range; write n[0-10/2]")]
    Step,
    /// More digits than anybody counts.
    #[error("a number has at most 18 digits")]
    TooLong,
    /// A character that no name has.
    #[error("{character:?} cannot stand here{hint}")]
    Character {
        /// It.
        character: char,
        /// What was probably meant.
        hint: &'static str,
    },
    /// More names than anybody has nodes.
    #[error("it stands for more than {0} names")]
    TooMany(usize),
    /// The text is too long, or takes too long.
    #[error("it is too long; split it")]
    TooMuch,
    /// A group.
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// A text that is no nodeset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodesetError {
    text: String,
    character: usize,
    /// What is wrong.
    pub kind: ErrorKind,
}

impl NodesetError {
    /// At this byte of the text.
    pub(super) fn new(text: &str, at: usize, kind: ErrorKind) -> Self {
        let before = text.get(..at).unwrap_or(text).chars().count();
        // Of a long text the part around the mistake.
        let skip = before.saturating_sub(SHOWN / 2);
        let mut shown: String = text.chars().skip(skip).take(SHOWN).collect();
        if skip > 0 {
            shown.insert(0, '…');
        }
        if text.chars().nth(skip + SHOWN).is_some() {
            shown.push('…');
        }
        Self { text: shown, character: before + 1, kind }
    }

    /// Which character of the text is meant, from 1.
    pub const fn character(&self) -> usize {
        self.character
    }
}

impl fmt::Display for NodesetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nodeset {:?}, character {}: {}", self.text, self.character, self.kind)
    }
}

impl std::error::Error for NodesetError {}
