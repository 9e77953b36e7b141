//! The data plane of a node.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use wulfpack_shared::image::{Header, Units};
use wulfpack_shared::net::endpoint::{DataSocket, Tuning};
use wulfpack_shared::net::swarm::{Swarm, SwarmConfig, SwarmEvent};
use wulfpack_shared::net::tls::Identity;
use wulfpack_shared::swarm::Config;
use wulfpack_shared::wire::DataAddrs;

/// Binds the addresses that this member tells others and starts its swarm there.
///
/// # Errors
/// An address cannot be bound; it is named.
pub fn start_swarm(
    identity: &Identity,
    data: &DataAddrs,
    mtu: Option<u16>,
    header: &Header,
) -> Result<(Arc<Swarm>, mpsc::Receiver<SwarmEvent>)> {
    let sockets = data.ips.iter().map(|ip| DataSocket::bind(SocketAddr::new(*ip, data.port), None));
    start_swarm_on(identity, sockets.collect::<Result<Vec<_>, _>>()?, mtu, None, header)
}

/// Starts the swarm of a member on sockets that are bound already; `speed` is that of the link in bits per second.
///
/// # Errors
/// A socket cannot be used.
pub fn start_swarm_on(
    identity: &Identity,
    sockets: Vec<DataSocket>,
    mtu: Option<u16>,
    speed: Option<u64>,
    header: &Header,
) -> Result<(Arc<Swarm>, mpsc::Receiver<SwarmEvent>)> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))?;
    let config = SwarmConfig {
        identity: identity.clone(),
        sockets,
        engine: Config::node(),
        tuning: Tuning::new(&Units::of(header), mtu, speed),
        seed: u64::from_le_bytes(seed),
    };
    let (swarm, events) = Swarm::start(config).context("failed to start the data plane")?;
    Ok((Arc::new(swarm), events))
}
