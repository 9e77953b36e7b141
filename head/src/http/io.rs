//! Listeners and connections, each with its limits.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use super::desk::{Desk, Peer};
use super::routes::router;
use super::wire::Wire;
use crate::config::TokenEvidence;

/// Most open connections, of all machines and of one.
const CONNECTIONS_MAX: usize = 8192;
const CONNECTIONS_OF_ONE_MAX: u32 = 32;
/// Connections that wait to be accepted; the kernel gives at most `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 8192;
/// How long a request's headers may take, and how long an idle connection is kept.
const HEADER_TIME: Duration = Duration::from_secs(20);
/// How long the other end may take no bytes (tcp(7), `TCP_USER_TIMEOUT`).
const STALL_TIME: Duration = Duration::from_secs(60);
/// Longest life of a connection: thousands of nodes share one slow link.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Most bytes and number of a request's headers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Pause after accept(2) failed, such as for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// One address of the head.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// Where to listen; nodes are told this address.
    pub address: SocketAddr,
    /// What join tokens are given on here.
    pub proof: TokenEvidence,
}

/// What the HTTP service is told by the head's configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Addresses of the configured interfaces.
    pub listen: Vec<Listen>,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on TCP {address}: {source}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the kernel said.
    pub source: io::Error,
}

/// A service whose sockets are open.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(TcpListener, TokenEvidence)>,
}

impl Server {
    /// Opens the sockets; inside a tokio runtime.
    pub fn bind(options: &Options) -> Result<Self, BindError> {
        let mut listeners = vec![];
        for &Listen { address, proof } in &options.listen {
            let listener = listener(address).map_err(|source| BindError { address, source })?;
            listeners.push((listener, proof));
        }
        Ok(Self { listeners })
    }

    /// Where it listens: of use where a port was left to the kernel.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    /// Answers until dropped; connections end with it.
    pub async fn run(self, desk: Arc<Desk>) {
        let (router, gate) = (router(desk), Gate::default());
        let mut listeners = tokio::task::JoinSet::new();
        for (listener, proof) in self.listeners {
            listeners.spawn(accept(listener, proof, router.clone(), gate.clone()));
        }
        while listeners.join_next().await.is_some() {}
    }
}

/// What comes while all places are taken waits in the kernel's queue, and no machine's firmware sees a refusal.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, proof: TokenEvidence, router: Router, gate: Gate) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = gate.place().await;
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "HTTP connection not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (Ok(local), Some(seat)) = (stream.local_addr(), gate.seat(remote.ip())) else { continue };
        let router = router.clone();
        connections.spawn(async move {
            serve(stream, Peer { remote, local, proof }, router).await;
            drop((place, seat));
        });
    }
}

async fn serve(stream: TcpStream, peer: Peer, router: Router) {
    let socket = SockRef::from(&stream);
    if let Err(error) = socket.set_tcp_user_timeout(Some(STALL_TIME)).and_then(|()| socket.set_tcp_nodelay(true)) {
        tracing::debug!(%error, "options of an HTTP connection");
    }
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(Wire(stream)), service);
    match tokio::time::timeout(LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(remote = %peer.remote, %error, "HTTP connection"),
        Err(_) => tracing::debug!(remote = %peer.remote, "HTTP connection cut: it lived too long"),
    }
}

/// Counts connections.
#[derive(Clone, Debug)]
struct Gate {
    all: Arc<Semaphore>,
    by_machine: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS_MAX)), by_machine: Arc::default() }
    }
}

impl Gate {
    /// Waits for room for one more connection; meanwhile the kernel's queue holds those who ask.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Room for one more connection of this machine.
    fn seat(&self, machine: IpAddr) -> Option<Seat> {
        let mut counts = self.by_machine.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(machine).or_insert(0);
        (*count < CONNECTIONS_OF_ONE_MAX).then(|| {
            *count += 1;
            Seat { machine, by_machine: Arc::clone(&self.by_machine) }
        })
    }
}

/// One connection of a machine; gives its room back when dropped.
#[derive(Debug)]
struct Seat {
    machine: IpAddr,
    by_machine: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.by_machine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.machine) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.machine);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_cannot_take_all_connections() {
        let gate = Gate::default();
        let machine: IpAddr = "10.0.0.7".parse().unwrap();
        let seats: Vec<_> = (0..CONNECTIONS_OF_ONE_MAX).map(|_| gate.seat(machine).unwrap()).collect();
        assert!(gate.seat(machine).is_none());
        assert!(gate.seat("10.0.0.8".parse().unwrap()).is_some());
        drop(seats);
        assert!(gate.seat(machine).is_some());
        assert_eq!(gate.by_machine.lock().unwrap().len(), 0);
    }
}
