//! From a text to its terms: operator, kind, and the pieces of the name.

use super::brackets::{self, Mistake};
use super::error::{ErrorKind, NodesetError};
use super::name::parts;
use super::number::Number;
use super::ranges::Ranges;
use super::{glob, resolve::TEXT_MAX};

/// What happens with a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `,`: added.
    Union,
    /// `!`: taken out.
    Difference,
    /// `&`: all but these taken out.
    Intersection,
    /// `^`: added, or taken out if it was in.
    Either,
}

impl Operator {
    fn read(c: char) -> Option<Self> {
        match c {
            ',' => Some(Self::Union),
            '!' => Some(Self::Difference),
            '&' => Some(Self::Intersection),
            '^' => Some(Self::Either),
            _ => None,
        }
    }
}

/// What a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `n[1-4]`.
    Names,
    /// `n*`.
    Wildcard,
    /// `@rack:r[1-4]`; the pieces are without the `@`.
    Group,
}

/// A part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Numbers(Ranges),
}

/// One operand, with the operator in front of it.
#[derive(Clone, Debug)]
pub(super) struct Term<'a> {
    pub(super) operator: Operator,
    pub(super) kind: Kind,
    pub(super) pieces: Vec<Piece<'a>>,
    /// Where it begins.
    pub(super) at: usize,
}

/// Reads one term after the other.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// In front of the next term; `None` at the end.
    operator: Option<(Operator, char)>,
    max: usize,
}

impl<'a> Scanner<'a> {
    /// At most `max` numbers in one pair of brackets.
    pub(super) fn new(text: &'a str, max: usize) -> Result<Self, NodesetError> {
        if text.len() > TEXT_MAX {
            return Err(NodesetError::new(text, TEXT_MAX, ErrorKind::TooMuch));
        }
        if text.trim().is_empty() {
            return Err(NodesetError::new(text, 0, ErrorKind::Empty));
        }
        Ok(Self { text, at: 0, operator: Some((Operator::Union, ',')), max })
    }

    fn term(&mut self, (operator, character): (Operator, char)) -> Result<Term<'a>, Mistake> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = end_of_term(rest, self.at)?;
        let (body, after) = rest.split_at(end);
        let at = self.at + body.len() - body.trim_start().len();
        let body = body.trim();
        let next = after.chars().next();
        let here = self.at;
        self.at += end + 1;
        self.operator = next.and_then(|c| Some((Operator::read(c)?, c)));
        if body.is_empty() {
            return Err(match next {
                Some(operator) => (here + end, ErrorKind::NoOperand { side: "before", operator }),
                // A text of blanks only was refused at the beginning: this is the end behind an operator.
                None => (here.saturating_sub(1), ErrorKind::NoOperand { side: "behind", operator: character }),
            });
        }
        let (kind, name, at) = match body.strip_prefix('@') {
            Some(group) => (Kind::Group, group, at + 1),
            None if glob::is_pattern(body) => (Kind::Wildcard, body, at),
            None => (Kind::Names, body, at),
        };
        if name.is_empty() {
            return Err((at, ErrorKind::NoOperand { side: "behind", operator: '@' }));
        }
        Ok(Term { operator, kind, pieces: pieces(name, kind, at, self.max)?, at })
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Result<Term<'a>, NodesetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let operator = self.operator.take()?;
        let text = self.text;
        Some(self.term(operator).map_err(|(at, kind)| {
            self.operator = None;
            NodesetError::new(text, at, kind)
        }))
    }
}

/// At the next operator outside brackets. `at`: where the text stands.
fn end_of_term(text: &str, at: usize) -> Result<usize, Mistake> {
    let mut open = None;
    for (place, c) in text.char_indices() {
        match (c, open) {
            ('[', None) => open = Some(place),
            ('[', Some(_)) => return Err((at + place, ErrorKind::Nested)),
            (']', None) => return Err((at + place, ErrorKind::NotOpened)),
            (']', Some(_)) => open = None,
            (c, None) if Operator::read(c).is_some() => return Ok(place),
            _ => {}
        }
    }
    match open {
        Some(place) => Err((at + place, ErrorKind::NotClosed)),
        None => Ok(text.len()),
    }
}

/// A number that is being read: digits, ranges, digits.
#[derive(Default)]
struct Digits<'a> {
    /// Where it begins.
    at: usize,
    before: &'a str,
    ranges: Option<Ranges>,
    behind: &'a str,
}

impl<'a> Digits<'a> {
    /// The number is complete.
    fn finish(&mut self, pieces: &mut Vec<Piece<'a>>) -> Result<(), Mistake> {
        let Self { at, before, ranges, behind } = std::mem::take(self);
        match ranges {
            Some(ranges) => {
                let wide = brackets::widen(before, &ranges, behind).ok_or((at, ErrorKind::TooLong))?;
                pieces.push(Piece::Numbers(wide));
            }
            None if before.is_empty() => {}
            None => pieces.push(Number::read(before).map_or(Piece::Text(before), |n| Piece::Numbers(Ranges::one(n)))),
        }
        Ok(())
    }
}

fn pieces(name: &str, kind: Kind, at: usize, max: usize) -> Result<Vec<Piece<'_>>, Mistake> {
    let (mut pieces, mut number, mut rest) = (vec![], Digits::default(), name);
    while !rest.is_empty() {
        let here = at + name.len() - rest.len();
        // Brackets come in pairs: the end of the term was found so.
        if let Some((list, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            if number.ranges.is_some() {
                return Err((here, ErrorKind::TwoRanges));
            }
            number.ranges = Some(brackets::read(list, here + 1, max)?);
            if number.before.is_empty() {
                number.at = here;
            }
            rest = after;
            continue;
        }
        let (plain, after) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
        check(plain, kind, here)?;
        let mut place = here;
        for part in parts(plain) {
            match (is_digits(part), number.ranges.is_some()) {
                (true, false) => (number.at, number.before) = (place, part),
                (true, true) => number.behind = part,
                (false, _) => {
                    number.finish(&mut pieces)?;
                    pieces.push(Piece::Text(part));
                }
            }
            place += part.len();
        }
        rest = after;
    }
    number.finish(&mut pieces)?;
    Ok(pieces)
}

fn is_digits(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether these characters may stand in a name, or in the name of a group.
fn check(plain: &str, kind: Kind, at: usize) -> Result<(), Mistake> {
    let stands = |c: char| match kind {
        Kind::Group => !c.is_whitespace() && !c.is_control(),
        Kind::Wildcard if matches!(c, '*' | '?') => true,
        _ => c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'),
    };
    let Some((place, character)) = plain.char_indices().find(|(_, c)| !stands(*c)) else { return Ok(()) };
    let hint = match character {
        c if c.is_whitespace() => "; write a comma between names",
        '@' => "; a group begins with it: write a comma in front",
        '|' => "; write a comma for what is in one or the other",
        _ => "; a name has letters, digits, '-', '.' and '_'",
    };
    Err((at + place, ErrorKind::Character { character, hint }))
}
