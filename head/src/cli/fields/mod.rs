//! Flags that set, add to and clear fields of nodes and profiles, named as in Warewulf.
//!
//! * `table`: every field, once: its flag, its help, where it lies in the registry.
//! * `flags`: the command line made from it, for `add` and `set` (`SetFlags`) and for `unset` (`UnsetFlags`).
//! * `apply`: what the flags do to an entry. `count`: addresses that count up.

mod apply;
mod count;
mod flags;
mod table;

pub(super) use flags::{SetFlags, UnsetFlags};

#[cfg(test)]
mod tests;
