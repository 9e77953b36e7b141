//! Boot scripts by the thousand, kernels and archives by the gigabyte.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use wulfpack_head::image::Library;

use super::servers::{Place, address, mac};
use crate::cluster::IMAGE;

/// Nodes in the registry.
const NODES: u32 = 10_000;
/// Machines that ask at a time, each from its own address.
const SCRIPTS_AT_ONCE: u32 = 64;
const FILES_AT_ONCE: u32 = 16;

/// One server doing one thing.
#[derive(Clone, Debug, Serialize)]
pub struct HttpRow {
    /// The server.
    pub server: String,
    /// What it sent.
    pub what: String,
    /// Requests that were answered in full, per second.
    pub requests_per_s: f64,
    /// Payload in MiB per second.
    pub mib_per_s: f64,
}

/// Measures our head and nginx for `time` each.
pub fn http(time: Duration) -> Result<Vec<HttpRow>> {
    let place = Place::prepare("http", NODES, SCRIPTS_AT_ONCE)?;
    let (version, release, kernel, modules) = files(&place)?;
    let head = SocketAddr::new(place.head.port.address().into(), 9872);
    let base = format!("/files/{version}/{release}");
    let script = |number: u32| format!("/boot/{}/script.ipxe", mac(number % NODES).replace(':', "-"));
    let ours = |what: &str, per_connection| {
        measure(&place, "wulf serve", what, head, SCRIPTS_AT_ONCE, time, per_connection, &script)
    };
    let mut rows = vec![ours("boot scripts, a connection each", 1)?, ours("boot scripts, connections kept", u32::MAX)?];
    let kernels = [format!("{base}/kernel"), format!("{base}/modules")];
    let mine = |number: u32| kernels[number as usize % 2].clone();
    rows.push(measure(&place, "wulf serve", "kernel and modules", head, FILES_AT_ONCE, time, 2, &mine)?);

    let site = place.lab.work().join("site");
    fs::create_dir_all(&site)?;
    fs::copy(&kernel, site.join("kernel"))?;
    fs::copy(&modules, site.join("modules"))?;
    fs::write(site.join("script.ipxe"), one(&place, head, &script(1))?)?;
    let nginx = place.nginx(&site)?;
    let web = SocketAddr::new(place.head.port.address().into(), 80);
    let same = |_| "/script.ipxe".to_owned();
    rows.push(measure(&place, "nginx", "one static script, a connection each", web, SCRIPTS_AT_ONCE, time, 1, &same)?);
    let theirs = |number: u32| ["/kernel", "/modules"][number as usize % 2].to_owned();
    rows.push(measure(&place, "nginx", "kernel and modules", web, FILES_AT_ONCE, time, 2, &theirs)?);
    drop(nginx);
    place.succeeded();
    Ok(rows)
}

fn files(place: &Place) -> Result<(String, String, std::path::PathBuf, std::path::PathBuf)> {
    let version = Library::open(place.head.paths().images())?.active(&IMAGE.parse()?)?;
    let release = version.header().kernels.first().context("the image has no kernel")?.version.clone();
    let kernel = version.kernel(&release).context("no kernel")?;
    let modules = version.modules(&release).context("no modules")?;
    Ok((version.id().to_string(), release, kernel, modules))
}

fn one(place: &Place, server: SocketAddr, path: &str) -> Result<Vec<u8>> {
    place.clients.namespace.enter(move || -> Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let mut connection = Connection::open(address(0).into(), server).await?;
            connection.get(path).await?;
            Ok(connection.body())
        })
    })?
}

#[expect(clippy::too_many_arguments, reason = "one measurement, named where it is made")]
fn measure(
    place: &Place,
    server: &str,
    what: &str,
    at: SocketAddr,
    clients: u32,
    time: Duration,
    per_connection: u32,
    path: &(dyn Fn(u32) -> String + Sync),
) -> Result<HttpRow> {
    let paths: Arc<Vec<String>> = Arc::new((0..NODES).map(path).collect());
    let (requests, bytes) = place.clients.namespace.enter(move || -> Result<(u32, u64)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let (requests, bytes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
            let (next, end) = (Arc::new(AtomicU32::new(0)), Instant::now() + time);
            let mut tasks: JoinSet<Result<()>> = JoinSet::new();
            for number in 0..clients {
                let (paths, next) = (Arc::clone(&paths), Arc::clone(&next));
                let (requests, bytes) = (Arc::clone(&requests), Arc::clone(&bytes));
                tasks.spawn(async move {
                    while Instant::now() < end {
                        let mut connection = Connection::open(address(number).into(), at).await?;
                        for _ in 0..per_connection {
                            let path = &paths[next.fetch_add(1, Ordering::Relaxed) as usize % paths.len()];
                            let len = connection.get(path).await?;
                            if Instant::now() >= end {
                                break;
                            }
                            requests.fetch_add(1, Ordering::Relaxed);
                            bytes.fetch_add(len, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                });
            }
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            Ok((requests.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)))
        })
    })??;
    Ok(HttpRow {
        server: server.to_owned(),
        what: what.to_owned(),
        requests_per_s: f64::from(requests) / time.as_secs_f64(),
        mib_per_s: bytes as f64 / time.as_secs_f64() / f64::from(1 << 20),
    })
}

/// A client that reads what is sent and looks at the status and the length alone.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    body: usize,
}

impl Connection {
    async fn open(own: IpAddr, server: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(own, 0))?;
        Ok(Self { stream: socket.connect(server).await?, buffer: vec![0; 256 * 1024], filled: 0, body: 0 })
    }

    /// Bytes of the body.
    async fn get(&mut self, path: &str) -> Result<u64> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: head\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.filled = 0;
        let head = loop {
            let count = self.stream.read(&mut self.buffer[self.filled..]).await?;
            ensure!(count > 0, "the server closed the connection");
            self.filled += count;
            if let Some(end) = self.buffer[..self.filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            bail!("{path}: {text}");
        }
        let len = text.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
        let len: u64 = len.trim().parse()?;
        self.body = head;
        let mut left = len - (self.filled - head) as u64;
        while left > 0 {
            // What is small stays in the buffer behind the head; what is large is not kept.
            let start = if (len as usize) < self.buffer.len() / 2 { self.filled } else { 0 };
            let count = self.stream.read(&mut self.buffer[start..]).await?;
            ensure!(count > 0, "the server closed the connection");
            self.filled = start + count;
            left -= count as u64;
        }
        Ok(len)
    }

    fn body(&self) -> Vec<u8> {
        self.buffer[self.body..self.filled].to_vec()
    }
}

/// The rows for people.
pub fn http_table(rows: &[HttpRow]) -> String {
    let mut text = format!("{:<11} {:<38} {:>12} {:>9}\n", "server", "what", "requests/s", "MiB/s");
    for row in rows {
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "{:<11} {:<38} {:>12.0} {:>9.1}", row.server, row.what, row.requests_per_s, row.mib_per_s);
    }
    text
}
