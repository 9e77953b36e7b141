//! The two ends over quinn alone, with the swarm's settings and certificates. [`Way::Quinn`] does with the bytes what the swarm must do:
//! the sender reads them, the receiver hashes and writes them, off the reactor, in pieces as large as the largest chunk.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::task::{JoinSet, spawn_blocking};
use wulfpack_shared::identity::Role;
use wulfpack_shared::limits::{CHUNK_MAX, RUN_MAX, SLOTS};
use wulfpack_shared::net::endpoint::{Connection, DataEndpoint, DataSocket, Tuning};

use super::end::{Way, say, until_released};
use super::site::Site;

const PIECE: u64 = CHUNK_MAX as u64;

pub(super) async fn send(site: &Site, tuning: Tuning, socket: DataSocket, way: Way) -> Result<()> {
    let endpoint = DataEndpoint::start(vec![socket], site.identity(0, Role::Head)?, tuning, 64)?;
    let file = Arc::new(File::open(site.blob())?);
    let zeros = Bytes::from(vec![0; CHUNK_MAX as usize]);
    let serve = async {
        while let Some(incoming) = endpoint.incoming(0).await {
            let Some(connection) = endpoint.handshake(incoming).await else { continue };
            while let Ok((mut stream, mut ask)) = connection.accept_bi().await {
                let (file, zeros) = (Arc::clone(&file), zeros.clone());
                drop(tokio::spawn(async move {
                    let mut words = [0; 16];
                    ask.read_exact(&mut words).await?;
                    let (first, len) = words.split_at(8);
                    let mut at = u64::from_le_bytes(first.try_into()?);
                    let end = at + u64::from_le_bytes(len.try_into()?);
                    while at < end {
                        let len = PIECE.min(end - at);
                        let bytes =
                            if way == Way::Quinn { read(&file, at, len).await? } else { zeros.slice(..len as usize) };
                        stream.write_chunk(bytes).await?;
                        at += len;
                    }
                    anyhow::Ok(stream.finish()?)
                }));
            }
        }
    };
    say(&format!("ready {}", endpoint.local_addrs().next().context("no address")?))?;
    tokio::select! {
        () = serve => Ok(()),
        released = until_released() => released,
    }
}

async fn read(file: &Arc<File>, at: u64, len: u64) -> Result<Bytes> {
    let file = Arc::clone(file);
    spawn_blocking(move || {
        let mut buffer = vec![0; len as usize];
        file.read_exact_at(&mut buffer, at)?;
        Ok(Bytes::from(buffer))
    })
    .await?
}

pub(super) async fn receive(
    site: &Site,
    tuning: Tuning,
    socket: DataSocket,
    way: Way,
    from: SocketAddr,
    store: &str,
) -> Result<()> {
    let endpoint = DataEndpoint::start(vec![socket], site.identity(1, Role::Node)?, tuning, 64)?;
    let len = site.header.blob.len;
    let file = File::options().write(true).create(true).truncate(true).open(site.blob().with_file_name(store))?;
    file.set_len(len)?;
    let (file, next) = (Arc::new(file), Arc::new(AtomicU64::new(0)));
    say("begun")?;
    let started = Instant::now();
    let connection = endpoint.dial(from, site.identity(0, Role::Head)?.key()).await?;
    let mut streams = JoinSet::new();
    for _ in 0..SLOTS {
        let (connection, file, next) = (connection.clone(), Arc::clone(&file), Arc::clone(&next));
        streams.spawn(async move {
            loop {
                let at = next.fetch_add(RUN_MAX, Ordering::Relaxed);
                if at >= len {
                    return anyhow::Ok(());
                }
                run(&connection, way, at, RUN_MAX.min(len - at), &file).await?;
            }
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    say(&format!("done {len} {}", started.elapsed().as_secs_f64()))?;
    until_released().await
}

/// One request of as many bytes as a run of the swarm has.
async fn run(connection: &Connection, way: Way, first: u64, len: u64, file: &Arc<File>) -> Result<()> {
    let (mut ask, mut stream) = connection.open_bi().await?;
    ask.write_all(&[first.to_le_bytes(), len.to_le_bytes()].concat()).await?;
    drop(ask.finish());
    if way == Way::Bare {
        while stream.read_chunk(usize::MAX, true).await?.is_some() {}
        return Ok(());
    }
    let (mut at, end) = (first, first + len);
    let mut stored = None;
    while at < end {
        let mut buffer = vec![0; PIECE.min(end - at) as usize];
        stream.read_exact(&mut buffer).await?;
        let file = Arc::clone(file);
        let here = at;
        at += buffer.len() as u64;
        let work = spawn_blocking(move || {
            std::hint::black_box(blake3::hash(&buffer));
            file.write_all_at(&buffer, here)
        });
        // One piece is hashed and written while the next arrives.
        if let Some(earlier) = stored.replace(work) {
            earlier.await??;
        }
    }
    if let Some(last) = stored {
        last.await??;
    }
    Ok(())
}
