//! Who is in the swarm: gives out peers and rack sizes. `machine.rs` is pure.

mod event;
mod machine;
mod swarm;
#[cfg(test)]
mod tests;

pub use event::{AskId, Input, Output, Reason};
pub use machine::Tracker;
