//! Nodesets: sets of node names, written and printed as in ClusterShell.
//!
//! `n[1-4,7]`, `n[001-100/2]`, `r[1-4]n[1-32]`; `,` union, `!` difference, `&` intersection, `^` in one of both, read from left to
//! right without precedence; `*` and `?` match names; `@group` and `@source:group` stand for groups.
//!
//! * `number`: numbers in names as they are written: `7` and `007` are two. `ranges`: sets of them, as spans.
//! * `name`: a name taken apart into a pattern and its numbers. `set`: sets of names, and their algebra.
//! * `fold`: the shortest text, the same as `nodeset -f` prints. `glob`: `*` and `?`.
//! * `scan`, `brackets`: from a text to its terms. `resolve`: from terms to a set, within limits. `error`: what a person is told.
//! * `groups`: what groups are; `sources`: the groups that the registry knows by attribute.
//!
//! All of it is pure, and bounded: no text makes it panic, or hold more than [`NAMES_MAX`] names.
//!
//! It differs from ClusterShell where that is safer: an empty text, a blank within a name and a negative number are errors, and
//! `n1[9-10]` is n19 and n110 (there it is n19 to n110).

mod brackets;
mod error;
mod fold;
mod glob;
mod groups;
mod name;
mod number;
mod ranges;
mod resolve;
mod scan;
mod set;
mod sources;

pub use error::{ErrorKind, NodesetError};
pub(crate) use glob::matches as is_like;
pub use groups::{GroupError, Groups, NoGroups};
pub use resolve::{NAMES_MAX, Resolver, TEXT_MAX};
pub use set::NodeSet;
pub use sources::{RegistryGroups, SOURCES};

#[cfg(test)]
mod tests;
