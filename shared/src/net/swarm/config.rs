//! What a swarm is started with.

use crate::net::endpoint::{DataSocket, EndpointError, Tuning};
use crate::net::tls::{Identity, IdentityError};
use crate::swarm;

/// Settings of a member of the swarm.
#[derive(Debug)]
pub struct SwarmConfig {
    /// Its key, its certificate, and what it believes of others.
    pub identity: Identity,
    /// Where it listens and dials from; the first is the preferred one of its address family.
    pub sockets: Vec<DataSocket>,
    /// The engine's settings: [`swarm::Config::node`] or [`swarm::Config::head`].
    pub engine: swarm::Config,
    /// Link and image, for QUIC.
    pub tuning: Tuning,
    /// Seed of the engine's random generator; any number, other ones on other members.
    pub seed: u64,
}

/// Why a swarm does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// Its data plane did not start.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The certificate that was handed in does not count.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The swarm has ended.
    #[error("the swarm of this process has ended")]
    Ended,
    /// More images than one member can take part in.
    #[error("the swarm takes part in {} images already", u16::MAX)]
    TooManyImages,
}
