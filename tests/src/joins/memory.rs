//! What connections cost a node that has its image: one process that serves, and members that connect and want nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use wulfpack_head::admin::TicketFor;
use wulfpack_shared::identity::Ticket;
use wulfpack_shared::net::endpoint::{Connection, DataEndpoint, DataSocket, Tuning};
use wulfpack_shared::wire::{self, PeerFrame};

use super::storm::one;
use crate::cluster::{Hosts, IMAGE};
use crate::harness::{Fetch, Process};

const PATIENCE: Duration = Duration::from_secs(120);
const SEED: Duration = Duration::from_secs(3600);
/// Long enough for buffers of the handshakes to be given back, too short for idle connections to be closed.
const SETTLE: Duration = Duration::from_secs(3);

/// What peers cost a node.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryRow {
    /// Peers that are connected and idle.
    pub peers: u32,
    /// Resident set of the node that serves, before they came, MiB.
    pub alone_mib: f64,
    /// With them.
    pub with_mib: f64,
    /// Largest resident set that it had, MiB: while it fetched.
    pub peak_mib: f64,
    /// What each cost, MiB.
    pub each_mib: f64,
}

/// Lets so many members connect to one that serves.
pub fn memory(peers: u32) -> Result<MemoryRow> {
    let hosts = Hosts::prepare_sized("memory", 2, None, 64)?;
    let seed: Fetch = hosts.fetch(0, SEED)?;
    seed.report(PATIENCE)?;
    let subject = TicketFor::Anonymous { image: IMAGE.parse()?, count: peers };
    let ticket: Ticket = hosts.head.ticket(subject)?.parse()?;
    let port = hosts.port(1)?;
    let target = IpAddr::from(hosts.port(0)?.address());
    let (alone, with) = port.namespace.enter(|| -> Result<_> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(connected(&seed.process, &ticket, port.address().into(), target, peers))
    })??;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let row = MemoryRow {
        peers,
        alone_mib: mib(alone),
        with_mib: mib(with),
        peak_mib: mib(seed.process.peak_rss()?),
        each_mib: mib(with.saturating_sub(alone)) / f64::from(peers.max(1)),
    };
    drop(seed);
    hosts.succeeded();
    Ok(row)
}

/// The node's memory before and while all are connected.
async fn connected(node: &Process, ticket: &Ticket, own: IpAddr, target: IpAddr, peers: u32) -> Result<(u64, u64)> {
    let mut members = vec![];
    for number in 0..peers {
        members.push(one(number, ticket, own).await?.0);
    }
    let alone = node.rss()?;
    let mut held = vec![];
    for (number, member) in (0u16..).zip(&members) {
        let there = |addr: &SocketAddr| addr.ip() == target;
        let peer = member.answer.peers.iter().find(|peer| !peer.head && peer.addrs.iter().any(there));
        let peer = peer.context("the tracker does not name the node")?;
        let socket = DataSocket::bind((own, 30_000 + number).into(), None)?;
        let endpoint = DataEndpoint::start(vec![socket], member.identity.clone(), Tuning::default(), 4)?;
        let addr = *peer.addrs.iter().find(|addr| there(addr)).context("no address")?;
        let connection = endpoint.dial(addr, peer.key).await?;
        let frames = hello(&connection).await.context("the node does not say hello")?;
        held.push((endpoint, connection, frames));
    }
    tokio::time::sleep(SETTLE).await;
    let open = held.iter().filter(|(_, connection, _)| connection.close_reason().is_none()).count();
    anyhow::ensure!(open == held.len(), "only {open} of {} connections stand", held.len());
    Ok((alone, node.rss()?))
}

/// Says hello, and hears it. The stream stays open as long as what is returned lives.
async fn hello(connection: &Connection) -> Result<impl Sized + use<>> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let body = wire::encode(&PeerFrame::Hello { version: wire::VERSION, images: vec![] });
    send.write_all(&[&u32::try_from(body.len())?.to_le_bytes()[..], &body].concat()).await?;
    receive.read_exact(&mut [0; 4]).await?;
    Ok((send, receive))
}

/// The figures for people.
pub fn memory_table(rows: &[MemoryRow]) -> String {
    let mut text = "idle peers  alone MiB  with MiB  each MiB  peak MiB while fetching\n".to_owned();
    for MemoryRow { peers, alone_mib, with_mib, peak_mib, each_mib } in rows {
        text += &format!("{peers:>10}  {alone_mib:>9.1}  {with_mib:>8.1}  {each_mib:>8.3}  {peak_mib:>23.1}\n");
    }
    text
}
