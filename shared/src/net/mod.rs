//! What puts the pure parts on real sockets: the quinn data plane, the libp2p control plane, the stores that hold image bytes,
//! and the shell that drives the swarm engine.
//!
//! * `buffer`: memory for units on their way, used again.
//! * `clock`: cluster time, and the machine's monotonic clock as [`crate::time::Mono`].
//! * `tls`: mutual TLS 1.3 whose certificates carry a membership; both ends check it.
//! * `endpoint`: quinn tuned for a machine room.
//! * `store`: where units lie: a seed's complete files, or a file that is being filled.
//! * `swarm`: one task owns the engine, connection tasks do what it says.
//! * `control`: request and response between agents and heads.

mod buffer;
pub mod clock;
pub mod control;
pub mod endpoint;
pub mod store;
pub mod swarm;
pub mod tls;
