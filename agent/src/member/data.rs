//! The data plane of a node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use wulfpack_shared::image::{Header, Units};
use wulfpack_shared::net::endpoint::{BindError, DataSocket, Tuning};
use wulfpack_shared::net::swarm::{Swarm, SwarmConfig, SwarmEvent};
use wulfpack_shared::net::tls::Identity;
use wulfpack_shared::swarm::Config;
use wulfpack_shared::wire::DataAddrs;

/// Pause before an address that is in use is tried again: much less than anybody waits for a chunk.
const AGAIN: Duration = Duration::from_millis(10);

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

/// Like [`start_swarm`], for the process that comes after one that has just said that it is done: the kernel frees an address
/// only when the last of that process's tasks has dropped its socket, a moment after the word, and tells nobody.
///
/// # Errors
/// An address cannot be bound; one that is in use is tried again until `patience` is over.
pub async fn start_swarm_after(
    identity: &Identity,
    data: &DataAddrs,
    header: &Header,
    patience: Duration,
) -> Result<(Arc<Swarm>, mpsc::Receiver<SwarmEvent>)> {
    let end = Instant::now() + patience;
    loop {
        match start_swarm(identity, data, None, header) {
            Err(error) if is_in_use(&error) && Instant::now() < end => tokio::time::sleep(AGAIN).await,
            done => return done,
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<BindError>().is_some_and(|error| error.source.kind() == io::ErrorKind::AddrInUse)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_in_use_is_worth_another_try() {
        let first = DataSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap();
        let taken = DataSocket::bind(first.local_addr(), None).unwrap_err();
        assert!(is_in_use(&taken.into()));
        // TEST-NET-1 (RFC 5737): nobody's address.
        let foreign = DataSocket::bind(SocketAddr::from(([192, 0, 2, 1], 0)), None).unwrap_err();
        assert!(!is_in_use(&foreign.into()));
    }
}
