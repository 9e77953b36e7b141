//! What both ends build their libp2p swarm from.

use core::time::Duration;

use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, noise, request_response, tcp, yamux};
use libp2p_connection_limits as connection_limits;

use super::codec::ControlCodec;
use super::keys;
use crate::identity::SecretKey;
use crate::limits::LISTEN_MAX;
use crate::wire::{CONTROL_PROTOCOL, LISTEN_PROTOCOL};

/// A connection without requests is closed after so long; agents ask more often than that while they boot.
const IDLE: Duration = Duration::from_secs(30);
/// TCP, Noise and Yamux together take less or fail.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the last byte of the response.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// The same for requests that wait for orders; the head answers them in time.
pub(super) const LISTENED: Duration = LISTEN_MAX.saturating_add(ANSWER);
/// Requests of one connection that are under way at a time.
const STREAMS: usize = 8;

/// Request-response, identify, limits; nothing that gossips or discovers.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub control: request_response::Behaviour<ControlCodec>,
    /// Requests that wait long for their answer.
    pub listen: request_response::Behaviour<ControlCodec>,
    pub identify: identify::Behaviour,
    limits: connection_limits::Behaviour,
}

/// Builds the swarm; the error says what libp2p did not like.
pub(super) fn swarm(
    secret: &SecretKey,
    support: request_response::ProtocolSupport,
    limits: connection_limits::ConnectionLimits,
) -> Result<Swarm<Behaviour>, String> {
    let keypair = keys::keypair(secret).ok_or("the key is no ed25519 key")?;
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|error| format!("Noise cannot be set up: {error}"))?
        .with_behaviour(|keypair| {
            let behaviour = |name, timeout, streams| {
                let config = request_response::Config::default()
                    .with_request_timeout(timeout)
                    .with_max_concurrent_streams(streams);
                request_response::Behaviour::with_codec(
                    ControlCodec,
                    [(StreamProtocol::new(name), support.clone())],
                    config,
                )
            };
            let version = concat!("wulfpack/", env!("CARGO_PKG_VERSION")).to_owned();
            let identify = identify::Config::new(CONTROL_PROTOCOL.to_owned(), keypair.public())
                .with_agent_version(version)
                .with_hide_listen_addrs(true);
            Behaviour {
                control: behaviour(CONTROL_PROTOCOL, ANSWER, STREAMS),
                listen: behaviour(LISTEN_PROTOCOL, LISTENED, STREAMS),
                identify: identify::Behaviour::new(identify),
                limits: connection_limits::Behaviour::new(limits),
            }
        })
        .map_err(|error| format!("its behaviour cannot be set up: {error}"))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .with_connection_timeout(CONNECT)
        .build();
    Ok(swarm)
}
