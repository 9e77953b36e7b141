//! The control plane: agents ask, heads answer, over libp2p (TCP, Noise, Yamux, request-response). The Noise handshake proves the
//! key of either end, so that a request needs no signature of its own. Agents dial `/p2p/<head id>` and never listen.
//!
//! * `codec.rs`: requests and responses on a stream, within their limits.
//! * `keys.rs`: our keys and addresses as libp2p's, and back.
//! * `behaviour.rs`: what both ends build their libp2p swarm from.
//! * `server.rs`: a head's side. * `client.rs`: a member's side.

mod behaviour;
mod client;
mod codec;
mod keys;
mod server;

#[cfg(test)]
mod tests;

pub use client::{Attempt, AttemptPhase, ControlClient, ControlError};
pub use keys::{peer_id, public_key};
pub use server::{ControlHandler, ControlServer, ControlServerError};
