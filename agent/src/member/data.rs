//! The data plane of a node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use wulfpack_shared::image::{Header, Units};
use wulfpack_shared::limits::SLOTS;
use wulfpack_shared::manners::{Cap, Manners};
use wulfpack_shared::net::endpoint::{BindError, DataSocket, Tuning};
use wulfpack_shared::net::swarm::{Swarm, SwarmConfig, SwarmEvent};
use wulfpack_shared::net::tls::Identity;
use wulfpack_shared::swarm::Config;
use wulfpack_shared::wire::{DataAddrs, SeedPolicy};

/// Pause before an address that is in use is tried again: much less than anybody waits for a chunk.
const AGAIN: Duration = Duration::from_millis(10);

/// What is known of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its MTU in bytes.
    pub mtu: Option<u16>,
    /// Its speed in bits a second.
    pub speed: Option<u64>,
}

/// How a member behaves: whether it serves at all, and what it takes of its link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// How long it serves.
    pub seed: SeedPolicy,
    /// Caps, and the mark of its packets.
    pub manners: Manners,
}

impl Conduct {
    /// The engine's settings for runs of so many bytes: no more at a time than the caps let through in a second, so that no peer takes
    /// a capped member for one that hangs.
    fn engine(&self, run: u64) -> Config {
        let slots = |cap: Cap| {
            let runs = cap.get().map_or(u64::from(SLOTS), |bits| bits / 8 / run.max(1));
            u8::try_from(runs.clamp(1, u64::from(SLOTS))).unwrap_or(SLOTS)
        };
        let slots_up = if self.seed == SeedPolicy::Never { 0 } else { slots(self.manners.upload) };
        Config { slots_up, slots_down: slots(self.manners.download), ..Config::node() }
    }
}

/// Binds the addresses that this member tells others and starts its swarm there.
///
/// # Errors
/// An address cannot be bound; it is named.
pub fn start_swarm(
    identity: &Identity,
    data: &DataAddrs,
    mtu: Option<u16>,
    header: &Header,
    conduct: Conduct,
) -> Result<(Arc<Swarm>, mpsc::Receiver<SwarmEvent>)> {
    let sockets = data.ips.iter().map(|ip| DataSocket::bind(SocketAddr::new(*ip, data.port), None));
    start_swarm_on(identity, sockets.collect::<Result<Vec<_>, _>>()?, Link { mtu, speed: None }, header, conduct)
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
    conduct: Conduct,
    patience: Duration,
) -> Result<(Arc<Swarm>, mpsc::Receiver<SwarmEvent>)> {
    let end = Instant::now() + patience;
    loop {
        match start_swarm(identity, data, None, header, conduct) {
            Err(error) if is_in_use(&error) && Instant::now() < end => tokio::time::sleep(AGAIN).await,
            done => return done,
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<BindError>().is_some_and(|error| error.source.kind() == io::ErrorKind::AddrInUse)
}

/// Starts the swarm of a member on sockets that are bound already.
///
/// # Errors
/// A socket cannot be used.
pub fn start_swarm_on(
    identity: &Identity,
    sockets: Vec<DataSocket>,
    link: Link,
    header: &Header,
    conduct: Conduct,
) -> Result<(Arc<Swarm>, mpsc::Receiver<SwarmEvent>)> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))?;
    let tuning = Tuning::new(&Units::of(header), link.mtu, link.speed).with(conduct.manners);
    let config = SwarmConfig {
        identity: identity.clone(),
        sockets,
        engine: conduct.engine(tuning.run),
        tuning,
        seed: u64::from_le_bytes(seed),
    };
    let (swarm, events) = Swarm::start(config).context("failed to start the data plane")?;
    Ok((Arc::new(swarm), events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capped_member_moves_few_runs_at_a_time_and_one_that_never_seeds_offers_none() {
        let capped = |text: &str| Manners { upload: text.parse().unwrap(), ..Manners::default() };
        for (cap, up) in [("none", 4), ("100mbit", 4), ("20mbit", 2), ("1mbit", 1)] {
            let config = Conduct { seed: SeedPolicy::Always, manners: capped(cap) }.engine(1 << 20);
            assert_eq!((config.slots_up, config.slots_down), (up, 4), "{cap}");
        }
        assert!(Conduct { seed: SeedPolicy::Never, manners: Manners::default() }.engine(1 << 20).serves_nobody());
    }

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
