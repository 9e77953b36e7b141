//! Mutual TLS 1.3 for the data plane. There is no certificate authority in the X.509 sense: each member makes a self-signed
//! certificate from its ed25519 key, and an extension in it carries the [`crate::identity::SignedMembership`] that the cluster signed for
//! that key. Both ends check it in the handshake, with the cluster's clock and the list of revoked keys.
//!
//! * `cert.rs`: the certificate, made and read.
//! * `trust.rs`: what is believed: cluster keys, clock, revocations.
//! * `verifier.rs`: rustls' questions, answered.
//! * `config.rs`: a member's identity, and the rustls configurations made from it.

mod cert;
mod config;
mod suites;
mod trust;
mod verifier;

#[cfg(test)]
mod tests;

pub use config::{Identity, IdentityError};
pub use trust::{MemberError, Trust};
