//! One end of a transfer by iroh-blobs over loopback, with its store on files, as it is meant to be used. Both ends go on until
//! their standard input ends, so that what they cost can be read.
//!
//! `iroh-pair send FILE STORE` prints `ready TICKET`.
//! `iroh-pair receive OUT STORE TICKET` prints `begun` at its first step, and `done SECONDS` once the file lies at OUT, verified.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use iroh::endpoint::{RelayMode, presets};
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{BlobsProtocol, Hash};

async fn endpoint() -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).clear_ip_transports();
    Ok(builder.bind_addr("127.0.0.1:0")?.bind().await?)
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

async fn until_told() -> Result<()> {
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut vec![])).await??;
    Ok(())
}

async fn send(file: &str, store: &str) -> Result<()> {
    let (endpoint, store) = (endpoint().await?, FsStore::load(store).await?);
    let tag = store.blobs().add_path(std::path::absolute(file)?).await?;
    let (id, address) = (endpoint.id(), *endpoint.bound_sockets().first().context("no socket")?);
    let router = Router::builder(endpoint).accept(iroh_blobs::ALPN, BlobsProtocol::new(&store, None)).spawn();
    say(&format!("ready {id},{address},{}", tag.hash))?;
    until_told().await?;
    Ok(router.shutdown().await?)
}

async fn receive(out: &str, store: &str, ticket: &str) -> Result<()> {
    let mut parts = ticket.split(',');
    let mut part = || parts.next().context("not a ticket");
    let (id, address, hash): (EndpointId, SocketAddr, Hash) = (part()?.parse()?, part()?.parse()?, part()?.parse()?);
    let (endpoint, store) = (endpoint().await?, FsStore::load(store).await?);
    say("begun")?;
    let begun = Instant::now();
    let connection = endpoint.connect(EndpointAddr::new(id).with_ip_addr(address), iroh_blobs::ALPN).await?;
    store.remote().fetch(connection, hash).complete().await?;
    store.blobs().export(hash, std::path::absolute(out)?).await?;
    say(&format!("done {:.4}", begun.elapsed().as_secs_f64()))?;
    until_told().await?;
    endpoint.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["send", file, store] => send(file, store).await,
        ["receive", out, store, ticket] => receive(out, store, ticket).await,
        _ => bail!("iroh-pair send FILE STORE | receive OUT STORE TICKET"),
    }
}
