//! Dialling and accepting members.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, Incoming, Runtime as _, ServerConfig, TransportConfig, VarInt,
};

use super::meter::{Marker, MeteredSocket};
use super::{DataSocket, Tuning, WireMeter};
use crate::id::PublicKey;
use crate::net::tls::{Identity, IdentityError};

/// Handshakes under way above which a caller must first prove its address (a Retry packet, RFC 9000, section 8.1.2).
const HALF_OPEN_RETRY: usize = 32;
/// Handshakes under way above which callers are turned away.
const HALF_OPEN_MAX: usize = 256;
/// A handshake takes less or fails.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// What TLS calls the other end; nobody reads it, as keys and not names are checked.
const SERVER_NAME: &str = "member.wulfpack";

/// Why the data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No TLS configuration.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No socket was handed in.
    #[error("the swarm needs at least one address to listen on")]
    NoSocket,
    /// The runtime refused the socket.
    #[error("cannot use the socket {addr} for the swarm: {source}")]
    Socket {
        /// Which.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why a member was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No socket of that address family.
    #[error("no socket of the swarm can reach {addr}: none is bound to an address of its family")]
    Family {
        /// Where to.
        addr: SocketAddr,
    },
    /// No TLS configuration.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The address cannot be dialled.
    #[error("cannot dial {addr}: {source}")]
    Connect {
        /// Where to.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: quinn::ConnectError,
    },
    /// The handshake failed; refusals name their reason.
    #[error("no connection with {addr}: {source}")]
    Handshake {
        /// Where to.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: quinn::ConnectionError,
    },
    /// Nobody answered in time.
    #[error("no connection with {addr}: no answer within {} s", HANDSHAKE.as_secs())]
    Timeout {
        /// Where to.
        addr: SocketAddr,
    },
}

/// The data plane of one member: one quinn endpoint for each socket.
#[derive(Debug)]
pub struct DataEndpoint {
    endpoints: Vec<(SocketAddr, Endpoint)>,
    identity: Identity,
    transport: Arc<TransportConfig>,
    half_open: AtomicUsize,
    most: usize,
    meter: Arc<WireMeter>,
}

/// Counts a handshake as long as it lives.
struct HalfOpen<'a>(&'a AtomicUsize);

impl Drop for HalfOpen<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DataEndpoint {
    /// Starts on these sockets; at most `most` connections at a time are accepted.
    ///
    /// # Errors
    /// There is no socket, or one cannot be used, or TLS cannot be set up. Must be called inside a tokio runtime.
    pub fn start(
        sockets: Vec<DataSocket>,
        identity: Identity,
        tuning: Tuning,
        most: usize,
    ) -> Result<Self, EndpointError> {
        let transport = Arc::new(tuning.transport());
        let mut server = ServerConfig::with_crypto(Arc::new(identity.server()?));
        server.transport_config(Arc::clone(&transport)).migration(false).max_incoming(HALF_OPEN_MAX);
        let mut endpoints = Vec::with_capacity(sockets.len());
        let meter = Arc::new(WireMeter::default());
        for socket in sockets {
            let addr = socket.local_addr();
            let mut config = EndpointConfig::default();
            // What peers may send us; ours is bounded by theirs in turn.
            let _ = config.max_udp_payload_size(tuning.datagram().max(1472));
            let runtime = Arc::new(quinn::TokioRuntime);
            let open = || {
                let socket = socket.into_std();
                let marker = Marker::new(&socket, tuning.manners.dscp)?;
                let socket = MeteredSocket::new(runtime.wrap_udp_socket(socket)?, Arc::clone(&meter), marker)?;
                Endpoint::new_with_abstract_socket(config, Some(server.clone()), Arc::new(socket), runtime)
            };
            let endpoint = open().map_err(|source| EndpointError::Socket { addr, source })?;
            endpoints.push((addr, endpoint));
        }
        if endpoints.is_empty() {
            return Err(EndpointError::NoSocket);
        }
        Ok(Self { endpoints, identity, transport, half_open: AtomicUsize::new(0), most, meter })
    }

    /// Counts what passes its sockets.
    pub fn meter(&self) -> Arc<WireMeter> {
        Arc::clone(&self.meter)
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.iter().map(|(addr, _)| *addr)
    }

    /// Dials the member `peer` at `addr`.
    ///
    /// # Errors
    /// Nobody is there, somebody else is there, or one of the two refused the other; what the far end refuses is seen only when the
    /// connection is used (TLS 1.3 lets the dialler finish first).
    pub async fn dial(&self, addr: SocketAddr, peer: PublicKey) -> Result<Connection, DialError> {
        let fits = |bound: &SocketAddr| bound.is_ipv4() == addr.is_ipv4();
        let endpoint = self.endpoints.iter().find(|(bound, _)| fits(bound)).map(|(_, endpoint)| endpoint);
        let endpoint = endpoint.ok_or(DialError::Family { addr })?;
        let mut config = ClientConfig::new(Arc::new(self.identity.client(peer)?));
        config.transport_config(Arc::clone(&self.transport));
        let connecting =
            endpoint.connect_with(config, addr, SERVER_NAME).map_err(|source| DialError::Connect { addr, source })?;
        match tokio::time::timeout(HANDSHAKE, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(source)) => Err(DialError::Handshake { addr, source }),
            Err(_) => Err(DialError::Timeout { addr }),
        }
    }

    /// The next caller on the socket with this index; `None` once the endpoint is closed or if there is no such socket.
    pub async fn incoming(&self, socket: usize) -> Option<Incoming> {
        self.endpoints.get(socket)?.1.accept().await
    }

    /// Does the handshake with a caller; `None` if it was turned away or failed (which is logged, with the reason).
    pub async fn handshake(&self, incoming: Incoming) -> Option<Connection> {
        let from = incoming.remote_address();
        let under_way = self.half_open.fetch_add(1, Ordering::Relaxed);
        let _guard = HalfOpen(&self.half_open);
        let open: usize = self.endpoints.iter().map(|(_, endpoint)| endpoint.open_connections()).sum();
        if under_way >= HALF_OPEN_MAX || open >= self.most {
            tracing::debug!(%from, open, "too many connections: caller turned away");
            incoming.refuse();
            return None;
        }
        if under_way >= HALF_OPEN_RETRY && incoming.may_retry() {
            if let Err(error) = incoming.retry() {
                tracing::debug!(%from, %error, "no Retry packet sent");
            }
            return None;
        }
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => {
                tracing::debug!(%from, %error, "caller refused");
                return None;
            }
        };
        match tokio::time::timeout(HANDSHAKE, connecting).await {
            Ok(Ok(connection)) => Some(connection),
            Ok(Err(error)) => {
                tracing::warn!(%from, %error, "caller refused");
                None
            }
            Err(_) => {
                tracing::debug!(%from, "caller did not finish its handshake");
                None
            }
        }
    }

    /// Closes every connection and stops listening; returns when the peers know, or after a second.
    pub async fn close(&self, reason: &str) {
        for (_, endpoint) in &self.endpoints {
            endpoint.close(VarInt::from_u32(0), reason.as_bytes());
        }
        for (_, endpoint) in &self.endpoints {
            let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
        }
    }
}
