//! From the child that booted the node to the service of the running system: key, certificate, port, and what still has to
//! be reported.
//!
//! `state.rs` is what is handed over; it also lies in a 0600 file, so that either process may be killed and started again as
//! the same member. `socket.rs` is the moment itself: the child stops serving when the service is ready to go on.

mod socket;
mod state;

pub use socket::{Given, Giver, Since, Taker};
pub use state::{MemberState, StateError};
