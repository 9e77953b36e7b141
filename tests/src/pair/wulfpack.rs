//! The two ends over the swarm: what a head and a node run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use wulfpack_shared::identity::Role;
use wulfpack_shared::net::endpoint::{DataSocket, Tuning};
use wulfpack_shared::net::swarm::{Swarm, SwarmConfig, SwarmEvent};
use wulfpack_shared::swarm::Config;
use wulfpack_shared::wire::PeerInfo;

use super::end::{say, until_released};
use super::site::Site;

pub(super) async fn send(site: &Site, tuning: Tuning, socket: DataSocket) -> Result<()> {
    let identity = site.identity(0, Role::Head)?;
    let config = SwarmConfig { identity, sockets: vec![socket], engine: Config::head(), tuning, seed: 1 };
    let (swarm, _events) = Swarm::start(config)?;
    let store = site.seed_store()?;
    let held = store.held();
    swarm.add_image(site.signed.id(), Arc::new(store), held).await?;
    say(&format!("ready {}", swarm.local_addr().context("no address")?))?;
    until_released().await
}

pub(super) async fn receive(
    site: &Site,
    tuning: Tuning,
    socket: DataSocket,
    from: SocketAddr,
    store: &str,
) -> Result<()> {
    let identity = site.identity(1, Role::Node)?;
    let head = PeerInfo { key: site.identity(0, Role::Head)?.key(), addrs: vec![from], rack: None, head: true };
    let config = SwarmConfig { identity, sockets: vec![socket], engine: Config::node(), tuning, seed: 2 };
    let (swarm, mut events) = Swarm::start(config)?;
    swarm.add_image(site.signed.id(), Arc::new(site.fetch_store(store)?), vec![]).await?;
    say("begun")?;
    let started = Instant::now();
    swarm.add_peers(vec![head]).await?;
    loop {
        if let SwarmEvent::Complete { .. } = events.recv().await.context("the swarm ended")? {
            break;
        }
    }
    say(&format!("done {} {}", site.header.blob.len, started.elapsed().as_secs_f64()))?;
    until_released().await
}
