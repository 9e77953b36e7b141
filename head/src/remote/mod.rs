//! Commands on many nodes at once: so many at a time, each with its time, their output gathered.
//!
//! * `fanout`: starts and ends them. `gather`: nodes that said the same stand together, as clubak(1) shows them.

mod fanout;
mod gather;

pub use fanout::{Job, Outcome, Status, fan_out};
pub use gather::gather;

#[cfg(test)]
mod tests;
