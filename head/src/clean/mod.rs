//! What lies on a head and is needed no more: found, with sizes, and removed. What is in use is never among it.
//!
//! * `find`: looks. * `remove`: does it, one thing at a time.

mod find;
mod remove;
#[cfg(test)]
mod tests;

pub use find::{Kind, Known, Waste, find};
pub use remove::remove;
