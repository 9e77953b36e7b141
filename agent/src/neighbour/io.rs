//! The listener, and where the files come from.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wulfpack_shared::bootargs::NEIGHBOUR_HEADER;

use super::files::{Files, Wanted};

/// Machines that are given something at a time: the node has other work. Who is turned away asks the next, and at last the head.
const GIVEN_AT_ONCE: usize = 8;
/// How long a connection may last, and a file from the head take.
const CONNECTION: Duration = Duration::from_secs(300);
const FETCH: Duration = Duration::from_secs(120);
/// A file for which nobody asked for so long is forgotten.
const KEPT: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(200);

/// What is kept.
type Kept = BTreeMap<(usize, bool), (Bytes, Instant)>;

#[derive(Debug)]
struct Giver {
    files: Files,
    head: SocketAddr,
    kept: Mutex<Kept>,
    /// One fetches, the others wait for it.
    fetching: tokio::sync::Mutex<()>,
}

/// Gives files at `listen` until dropped; what it does not have comes from the head once.
pub async fn serve(listen: SocketAddr, head: SocketAddr, files: Files) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let giver = Arc::new(Giver { files, head, kept: Mutex::default(), fetching: tokio::sync::Mutex::default() });
    let room = Arc::new(Semaphore::new(GIVEN_AT_ONCE));
    let mut connections = tokio::task::JoinSet::new();
    let mut tidy = tokio::time::interval(KEPT);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (giver, room) = (Arc::clone(&giver), Arc::clone(&room));
                    connections.spawn(async move {
                        let place = room.try_acquire_owned();
                        timeout(CONNECTION, answer(stream, giver, place.is_ok())).await
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "neighbour boot");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            _ = tidy.tick() => giver.forget(),
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(stream: TcpStream, giver: Arc<Giver>, room: bool) {
    let service = service_fn(move |request| {
        let giver = Arc::clone(&giver);
        async move { Ok::<_, Infallible>(giver.reply(&request, room).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(20))
        .max_headers(64)
        .max_buf_size(16 * 1024);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a neighbour's connection");
    }
}

impl Giver {
    async fn reply(&self, request: &Request<Incoming>, room: bool) -> Response<Full<Bytes>> {
        let status = |status: StatusCode| {
            let mut reply = Response::new(Full::default());
            *reply.status_mut() = status;
            reply
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Some(wanted) = self.files.find(request.uri().path()) else { return status(StatusCode::NOT_FOUND) };
        if !room {
            return status(StatusCode::SERVICE_UNAVAILABLE);
        }
        match self.get(wanted).await {
            Ok(bytes) => {
                let length = HeaderValue::from(bytes.len());
                let body = if request.method() == Method::HEAD { Bytes::new() } else { bytes };
                let mut reply = Response::new(Full::new(body));
                reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                reply.headers_mut().insert(CONTENT_LENGTH, length);
                reply
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a neighbour is not given what it asks for");
                status(StatusCode::BAD_GATEWAY)
            }
        }
    }

    fn kept(&self, wanted: Wanted) -> Option<Bytes> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, used) = kept.get_mut(&wanted.key())?;
        *used = Instant::now();
        Some(bytes.clone())
    }

    fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, used)| used.elapsed() < KEPT);
    }

    async fn get(&self, wanted: Wanted) -> Result<Bytes> {
        if let Some(bytes) = self.kept(wanted) {
            return Ok(bytes);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(bytes) = self.kept(wanted) {
            return Ok(bytes);
        }
        let path = self.files.path(wanted).context("the manifest has no such file")?;
        let fetched = timeout(FETCH, fetch(self.head, &path, self.files.len_max(wanted))).await;
        let bytes = fetched.context("the head is too slow")??;
        let bytes = self.files.verify(wanted, bytes).context("the head sent other bytes than the manifest names")?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(wanted.key(), (bytes.clone(), Instant::now()));
        Ok(bytes)
    }
}

async fn fetch(head: SocketAddr, path: &str, len_max: usize) -> Result<Bytes> {
    let stream = TcpStream::connect(head).await.with_context(|| format!("cannot reach the head at {head}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, head.to_string())
        .header(NEIGHBOUR_HEADER, "1")
        .body(Full::<Bytes>::default())?;
    let mut reply = sender.send_request(request).await?;
    ensure!(reply.status() == StatusCode::OK, "the head says {} for {path}", reply.status());
    let mut bytes = BytesMut::new();
    while let Some(frame) = reply.frame().await {
        if let Ok(data) = frame?.into_data() {
            ensure!(bytes.len() + data.len() <= len_max, "the head sends more than the manifest names");
            bytes.extend_from_slice(&data);
        }
    }
    connection.abort();
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use wulfpack_shared::id::{Hash, VersionId};
    use wulfpack_shared::image::{Compression, Header, KernelEntry, Part};

    use super::*;

    const VERSION: VersionId = VersionId([0x1d; 32]);

    fn files() -> Files {
        let kernel = KernelEntry {
            version: "6.1.0".into(),
            kernel: Part::of(b"kernel"),
            modules: Part::of(b"mod"),
            default_args: vec![],
        };
        let blob = Part { hash: Hash::of(b"x"), len: 1 };
        let pages = vec![Hash::of(b"p")];
        let name = "debian".parse().unwrap();
        Files::new(VERSION, Header::new(name, blob, Compression::Zstd, 1, 1, pages, vec![kernel], "test".into()))
    }

    /// A head that sends this for everything; how often it was asked.
    async fn head(body: &'static str) -> (SocketAddr, Arc<Mutex<u32>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(0)));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let len = stream.read(&mut request).await.unwrap();
                // Else the head would take the node for one that boots.
                assert!(String::from_utf8_lossy(&request[..len]).contains(NEIGHBOUR_HEADER));
                *count.lock().unwrap() += 1;
                let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        (address, asked)
    }

    async fn node(head: SocketAddr) -> SocketAddr {
        // A free port: taken, and given back.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        tokio::spawn(serve(free, head, files()));
        while TcpStream::connect(free).await.is_err() {
            tokio::task::yield_now().await;
        }
        free
    }

    async fn ask(node: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(node).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn a_file_comes_from_the_head_once_and_goes_to_everybody() {
        let (head, asked) = head("kernel").await;
        let node = node(head).await;
        let path = format!("/files/{VERSION}/6.1.0/kernel");
        for _ in 0..3 {
            let reply = ask(node, &path).await;
            assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("\r\n\r\nkernel"), "{reply}");
        }
        assert_eq!(*asked.lock().unwrap(), 1);
        assert!(ask(node, "/agent/zstd").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn what_is_not_in_the_manifest_is_given_to_nobody() {
        let path = format!("/files/{VERSION}/6.1.0/kernel");
        for body in ["kernal", "kernel and more than that"] {
            let (head, _) = head(body).await;
            let reply = ask(node(head).await, &path).await;
            assert!(reply.starts_with("HTTP/1.1 502"), "{reply}");
        }
    }
}
