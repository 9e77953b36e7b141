//! Events for the head, buffered while it is away.

mod queue;
mod reporter;
mod used;

pub use queue::Queue;
pub use reporter::{Reporter, uptime_ms};
pub use used::{Used, used};
