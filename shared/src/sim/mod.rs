//! The simulator: real engines on simulated links, in virtual time, from one seed.
//!
//! Network, clock and event queue stand here; who fails when, and what is checked, is said by the tests. Join, tracker,
//! messages, handshakes and transfers all take their time; nothing reads another node's state.
//!
//! * `spec.rs`: what is simulated; `world.rs` and `event.rs`: the loop; `member.rs`: what is kept of a member.
//! * `shell.rs`: does what engines say; `conn.rs`: joins, connections, messages; `faults.rs`: what goes wrong.
//! * `link.rs`, `flows.rs` and `exact.rs`: the network; `queue.rs`: what happens next; `tracker.rs`: who is told of whom.
//! * `observe.rs`: watching it; `trace.rs`: the hash of a run; `report.rs`: what can be asked of it.

mod conn;
mod event;
mod exact;
mod faults;
mod flows;
mod link;
mod member;
mod observe;
mod queue;
mod report;
mod shell;
mod spec;
mod trace;
mod tracker;
mod world;

pub use faults::Fault;
pub use observe::{Observer, Transfer, Unobserved};
pub use spec::{ImageSpec, Links, MemberSpec, NO_RACK, Spec};
pub use trace::Trace;
pub use tracker::{RandomTracker, Tracker};
pub use world::World;

#[cfg(test)]
mod tests;
