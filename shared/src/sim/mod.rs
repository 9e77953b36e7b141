//! The simulator: real engines on simulated links, in virtual time, from one seed.
//!
//! Network, clock and event queue stand here; who fails when, and what is checked, is said by the tests. Join, tracker,
//! messages, handshakes and transfers all take their time; nothing reads another node's state.
//!
//! * `spec.rs`: what is simulated; `world.rs`: the loop; `shell.rs`: does what engines say; `conn.rs`: joins, connections, messages.
//! * `report.rs`: what can be asked of it.
//! * `link.rs`: the links; `queue.rs`: what happens next; `tracker.rs`: who is told of whom; `trace.rs`: the hash of a run.

mod conn;
mod link;
mod queue;
mod report;
mod shell;
mod spec;
mod trace;
mod tracker;
mod world;

pub use spec::{Fault, ImageSpec, Links, MemberSpec, Spec};
pub use trace::Trace;
pub use tracker::{RandomTracker, Tracker};
pub use world::{Observer, Transfer, Unobserved, World};

#[cfg(test)]
mod tests;
