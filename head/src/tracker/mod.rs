//! Who is in the swarm: gives out peers and rack sizes. `machine.rs` is pure.

mod caps;
mod event;
mod io;
mod machine;
mod swarm;
#[cfg(test)]
mod tests;

pub use caps::RackCaps;
pub use event::{AskId, Input, Output, Reason};
pub use io::TrackerHandle;
pub use machine::Tracker;
