//! What the head tells nodes that run: overlays to fetch, the swarm to leave. Agents never listen; each keeps one request open
//! (`wire/orders.rs`), and gets its orders as the answer.
//!
//! * `machine`: pure; who listens, which order goes to whom when, at most so many nodes of a batch at once.
//! * `batch`: the orders of one command. * `io`: the handle.

mod batch;
mod io;
mod machine;
#[cfg(test)]
mod tests;

pub use batch::{JobState, Pace, Progress};
pub use io::OrdersHandle;
pub use machine::{Input, Machine, Output};
