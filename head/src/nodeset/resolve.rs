//! From terms to a set, from left to right.

use indexmap::IndexSet;

use super::error::{ErrorKind, NodesetError};
use super::glob;
use super::groups::{GroupError, Groups};
use super::name::Pattern;
use super::number::Number;
use super::ranges::Ranges;
use super::scan::{Kind, Operator, Piece, Scanner, Term};
use super::set::{Gathered, NodeSet};

/// Most names that a nodeset may stand for, also on the way to its result.
pub const NAMES_MAX: usize = 1_000_000;
/// Longest text. Bytes.
pub const TEXT_MAX: usize = 16 * 1024 * 1024;
/// Most pieces of sets that operators may look at: seconds of work.
const WORK_MAX: usize = 200_000_000;
/// What it costs to match a name, in such pieces.
const MATCH_WORK: usize = 8;
/// What it costs to look a group up.
const GROUP_WORK: usize = 2000;

/// Turns texts into sets.
#[derive(Clone, Copy)]
pub struct Resolver<'a> {
    groups: &'a dyn Groups,
    max: usize,
}

impl std::fmt::Debug for Resolver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("max", &self.max).finish_non_exhaustive()
    }
}

impl<'a> Resolver<'a> {
    /// With these groups.
    pub fn new(groups: &'a dyn Groups) -> Self {
        Self { groups, max: NAMES_MAX }
    }

    /// With another limit than [`NAMES_MAX`].
    #[must_use]
    pub const fn with_limit(mut self, names: usize) -> Self {
        self.max = names;
        self
    }

    /// The set that a text stands for.
    pub fn resolve(&self, text: &str) -> Result<NodeSet, NodesetError> {
        let mut evaluation = Evaluation { set: NodeSet::default(), next: None, work: 0, max: self.max };
        let mut at = 0;
        for term in Scanner::new(text, self.max)? {
            let term = term?;
            at = term.at;
            let wrong = |kind| NodesetError::new(text, term.at, kind);
            let (gathered, work) = evaluation.operand(term.operator).map_err(wrong)?;
            self.add(&term, gathered, work).map_err(wrong)?;
        }
        evaluation.apply().map_err(|kind| NodesetError::new(text, at, kind))?;
        Ok(evaluation.set)
    }

    /// The set that any of these texts stands for.
    pub fn resolve_all<T: AsRef<str>>(&self, texts: &[T]) -> Result<NodeSet, NodesetError> {
        let mut set = NodeSet::default();
        for text in texts {
            set.union(&self.resolve(text.as_ref())?);
            if set.len() > self.max {
                return Err(NodesetError::new(text.as_ref(), 0, ErrorKind::TooMany(self.max)));
            }
        }
        Ok(set)
    }

    /// The names of that set in the order in which the texts name them; within brackets they count up.
    pub fn in_order<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<String>, NodesetError> {
        let set = self.resolve_all(texts)?;
        let (mut names, mut work) = (IndexSet::new(), 0);
        for text in texts.iter().map(AsRef::as_ref) {
            for term in Scanner::new(text, self.max)? {
                let term = term?;
                if matches!(term.operator, Operator::Union | Operator::Either) {
                    let mut gathered = Gathered::default();
                    self.add(&term, &mut gathered, &mut work).map_err(|kind| NodesetError::new(text, term.at, kind))?;
                    names.extend(gathered.finish().iter().filter(|name| set.contains(name)));
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Adds the names of one term, and what that costs.
    fn add(&self, term: &Term<'_>, gathered: &mut Gathered, work: &mut usize) -> Result<(), ErrorKind> {
        let mut spend = |count: usize, each: usize| {
            *work = work.saturating_add(count.saturating_mul(each));
            if *work > WORK_MAX { Err(ErrorKind::TooMuch) } else { Ok(()) }
        };
        match term.kind {
            Kind::Names => self.add_names(&term.pieces, gathered),
            Kind::Wildcard => {
                let (all, patterns) = (self.groups.all()?, self.texts(&term.pieces)?);
                spend(all.len().saturating_mul(patterns.len()), MATCH_WORK)?;
                for pattern in patterns.iter() {
                    let found: NodeSet = all.iter().filter(|name| glob::matches(&pattern, name)).collect();
                    gathered.add_set(&found);
                }
                Ok(())
            }
            Kind::Group => {
                let groups = self.texts(&term.pieces)?;
                spend(groups.len(), GROUP_WORK)?;
                for group in groups.iter() {
                    gathered.add_set(&self.group(&group)?);
                }
                Ok(())
            }
        }
    }

    fn group(&self, text: &str) -> Result<NodeSet, GroupError> {
        match text.split_once(':') {
            None if text == "*" => self.groups.all(),
            None => self.groups.members(None, text),
            Some((source, group)) => self.groups.members(Some(source), group),
        }
    }

    /// All texts that the pieces make: not names, but formed as these are.
    fn texts(&self, pieces: &[Piece<'_>]) -> Result<NodeSet, ErrorKind> {
        let mut gathered = Gathered::default();
        self.add_names(pieces, &mut gathered)?;
        Ok(gathered.finish())
    }

    fn add_names(&self, pieces: &[Piece<'_>], gathered: &mut Gathered) -> Result<(), ErrorKind> {
        let (mut pattern, mut places): (_, Vec<&Ranges>) = (Pattern::default(), vec![]);
        for piece in pieces {
            match piece {
                Piece::Text(text) => pattern.push_text(text),
                Piece::Numbers(ranges) => {
                    pattern.push_hole();
                    places.push(ranges);
                }
            }
        }
        let count = places.iter().fold(1_u64, |count, ranges| count.saturating_mul(ranges.len()));
        if count > self.max as u64 {
            return Err(ErrorKind::TooMany(self.max));
        }
        let none = Ranges::one(Number(0));
        let last = places.pop().unwrap_or(&none);
        let mut rows: Vec<Vec<Number>> = vec![vec![]];
        for ranges in places {
            rows =
                rows.iter().flat_map(|row| ranges.iter().map(|number| [row.as_slice(), &[number]].concat())).collect();
        }
        rows.into_iter().for_each(|row| gathered.add(pattern.clone(), row.into(), last));
        Ok(())
    }
}

/// Where a text has got to.
struct Evaluation {
    set: NodeSet,
    /// Operator and operand that come next. Terms that are added, or taken out, in a row are one operand.
    next: Option<(Operator, Gathered)>,
    work: usize,
    max: usize,
}

impl Evaluation {
    /// The operand to which a term with this operator adds, and the work so far.
    fn operand(&mut self, operator: Operator) -> Result<(&mut Gathered, &mut usize), ErrorKind> {
        let joins = matches!(operator, Operator::Union | Operator::Difference);
        let same = self.next.as_ref().is_some_and(|(next, _)| *next == operator);
        if !(joins && same) {
            self.apply()?;
        }
        let (_, gathered) = self.next.get_or_insert_with(|| (operator, Gathered::default()));
        // Names may be in it several times.
        if gathered.count() > 2 * self.max as u64 {
            let set = std::mem::take(gathered).finish();
            self.work += set.pieces();
            check(&set, self.max, self.work)?;
            gathered.add_set(&set);
        }
        Ok((gathered, &mut self.work))
    }

    fn apply(&mut self) -> Result<(), ErrorKind> {
        let Some((operator, gathered)) = self.next.take() else { return Ok(()) };
        let operand = gathered.finish();
        self.work += self.set.pieces() + operand.pieces();
        check(&operand, self.max, self.work)?;
        match operator {
            // What is written first is often all there is.
            Operator::Union if self.set.is_empty() => self.set = operand,
            Operator::Union => self.set.union(&operand),
            Operator::Difference => self.set.subtract(&operand),
            Operator::Intersection => self.set.intersect(&operand),
            Operator::Either => self.set.toggle(&operand),
        }
        check(&self.set, self.max, self.work)
    }
}

fn check(set: &NodeSet, max: usize, work: usize) -> Result<(), ErrorKind> {
    if set.len() > max {
        Err(ErrorKind::TooMany(max))
    } else if work > WORK_MAX {
        Err(ErrorKind::TooMuch)
    } else {
        Ok(())
    }
}
