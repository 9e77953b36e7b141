//! A head's side of the control plane.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use libp2p::core::transport::ListenerId;
use libp2p::request_response::{Event, Message, ProtocolSupport, ResponseChannel};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{PeerId, Swarm};
use libp2p_connection_limits::ConnectionLimits;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::behaviour::{Behaviour, BehaviourEvent, swarm};
use super::keys;
use crate::id::PublicKey;
use crate::identity::SecretKey;
use crate::wire::{ControlRequest, ControlResponse, Refusal, RefusalReason};

/// Requests that are worked on at a time.
const WORKING_MAX: usize = 64;
/// Requests that wait for their turn; beyond this the answer is `Busy`.
const WAITING_MAX: usize = 1024;
/// Connections of one key: the old one may linger while an agent comes back.
const PER_PEER: u32 = 3;
/// Connections that are being set up.
const PENDING_MAX: u32 = 512;
/// Connections at a time: every node of a large cluster, and some.
const CONNECTIONS_MAX: u32 = 16_384;

/// What a head does with a request.
pub trait ControlHandler: Send + Sync + 'static {
    /// Answers `request`, which came from the holder of the key `from` at the address `remote`.
    fn handle(&self, from: PublicKey, remote: SocketAddr, request: ControlRequest) -> BoxFuture<'_, ControlResponse>;

    /// Answers a request that may wait for its answer for as long as [`crate::limits::LISTEN_MAX`].
    fn listen(&self, from: PublicKey, remote: SocketAddr, request: ControlRequest) -> BoxFuture<'_, ControlResponse> {
        let _unanswered = (from, remote, request);
        Box::pin(std::future::ready(refused(RefusalReason::Version, "this head gives no orders".to_owned())))
    }
}

/// Why a head's control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlServerError {
    /// libp2p could not be set up.
    #[error("cannot start the control plane: {0}")]
    Setup(String),
    /// An address cannot be listened on.
    #[error("cannot listen for agents on TCP {addr}: {why}; is another head or program using it?")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        why: String,
    },
}

/// A running control plane; it ends when this is dropped.
#[derive(Debug)]
pub struct ControlServer {
    addrs: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl ControlServer {
    /// Listens on these addresses as the head with this key.
    ///
    /// # Errors
    /// An address is not this machine's or in use.
    pub async fn start(
        listen: Vec<SocketAddr>,
        head: &SecretKey,
        handler: Arc<dyn ControlHandler>,
    ) -> Result<Self, ControlServerError> {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_MAX))
            .with_max_established_incoming(Some(CONNECTIONS_MAX))
            .with_max_established_outgoing(Some(0))
            .with_max_established_per_peer(Some(PER_PEER));
        let mut swarm = swarm(head, ProtocolSupport::Inbound, limits).map_err(ControlServerError::Setup)?;
        let mut addrs = Vec::with_capacity(listen.len());
        for addr in listen {
            let fail = |why| ControlServerError::Listen { addr, why };
            // libp2p listens with SO_REUSEPORT: a second program would share the port and get every other agent. Without that
            // option the kernel says so.
            drop(std::net::TcpListener::bind(addr).map_err(|error| fail(error.to_string()))?);
            let id = swarm.listen_on(keys::multiaddr(addr)).map_err(|error| fail(error.to_string()))?;
            addrs.push(listening(&mut swarm, id).await.map_err(fail)?);
        }
        let (stop, stopped) = oneshot::channel();
        let (remotes, waiting) = (BTreeMap::new(), VecDeque::new());
        let server = Server { swarm, handler, remotes, waiting, working: JoinSet::new(), listening: JoinSet::new() };
        let task = tokio::spawn(server.run(stopped));
        Ok(Self { addrs, stop: Some(stop), task })
    }

    /// Where it listens; ports that were given as 0 are filled in.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Stops listening and drops every connection.
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        // The task only fails by a panic of libp2p, which is reported where it happens.
        drop((&mut self.task).await);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

/// Waits until the listener stands, and says where.
async fn listening(swarm: &mut Swarm<Behaviour>, id: ListenerId) -> Result<SocketAddr, String> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, address } if listener_id == id => {
                return keys::socket_addr(&address).ok_or_else(|| format!("{address} is no TCP address"));
            }
            SwarmEvent::ListenerError { listener_id, error } if listener_id == id => return Err(error.to_string()),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == id => {
                return Err(reason.err().map_or_else(|| "the listener closed".to_owned(), |error| error.to_string()));
            }
            _ => {}
        }
    }
}

/// A request whose turn has not come.
struct Waiting {
    from: PublicKey,
    remote: SocketAddr,
    request: ControlRequest,
    channel: ResponseChannel<ControlResponse>,
}

/// The task that owns libp2p's swarm.
struct Server {
    swarm: Swarm<Behaviour>,
    handler: Arc<dyn ControlHandler>,
    remotes: BTreeMap<ConnectionId, SocketAddr>,
    waiting: VecDeque<Waiting>,
    working: JoinSet<(ResponseChannel<ControlResponse>, ControlResponse)>,
    /// Nodes that wait for orders: as many as there are connections.
    listening: JoinSet<(ResponseChannel<ControlResponse>, ControlResponse)>,
}

impl Server {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                event = self.swarm.select_next_some() => self.event(event),
                Some(done) = self.working.join_next() => {
                    match done {
                        Ok((channel, response)) => self.respond(channel, response),
                        Err(error) => tracing::error!(%error, "a request of an agent could not be answered"),
                    }
                    self.work();
                }
                Some(done) = self.listening.join_next() => match done {
                    Ok((channel, response)) => self.respond_listener(channel, response),
                    Err(error) => tracing::error!(%error, "a node that waits for orders could not be answered"),
                },
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { connection_id, endpoint, .. } => {
                if let Some(remote) = keys::socket_addr(endpoint.get_remote_address()) {
                    self.remotes.insert(connection_id, remote);
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.remotes.remove(&connection_id);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "no connection with an agent");
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "the control plane's listener"),
            SwarmEvent::Behaviour(BehaviourEvent::Control(Event::Message {
                peer,
                connection_id,
                message: Message::Request { request, channel, .. },
            })) => self.request(&peer, connection_id, request, channel),
            SwarmEvent::Behaviour(BehaviourEvent::Listen(Event::Message {
                peer,
                connection_id,
                message: Message::Request { request, channel, .. },
            })) => self.listen(&peer, connection_id, request, channel),
            SwarmEvent::Behaviour(
                BehaviourEvent::Control(Event::InboundFailure { peer, error, .. })
                | BehaviourEvent::Listen(Event::InboundFailure { peer, error, .. }),
            ) => {
                tracing::debug!(%peer, %error, "a request of an agent failed");
            }
            _ => {}
        }
    }

    fn request(
        &mut self,
        peer: &PeerId,
        connection: ConnectionId,
        request: ControlRequest,
        channel: ResponseChannel<ControlResponse>,
    ) {
        let (Some(from), Some(&remote)) = (keys::public_key(peer), self.remotes.get(&connection)) else {
            let text = "the control plane takes ed25519 keys over TCP only".to_owned();
            return self.respond(channel, refused(RefusalReason::Version, text));
        };
        if self.waiting.len() >= WAITING_MAX {
            let text = format!("the head has {WAITING_MAX} requests waiting; it will take this one later");
            return self.respond(channel, refused(RefusalReason::Busy, text));
        }
        self.waiting.push_back(Waiting { from, remote, request, channel });
        self.work();
    }

    fn listen(
        &mut self,
        peer: &PeerId,
        connection: ConnectionId,
        request: ControlRequest,
        channel: ResponseChannel<ControlResponse>,
    ) {
        let (Some(from), Some(&remote)) = (keys::public_key(peer), self.remotes.get(&connection)) else {
            let text = "the control plane takes ed25519 keys over TCP only".to_owned();
            return self.respond_listener(channel, refused(RefusalReason::Version, text));
        };
        if self.listening.len() >= CONNECTIONS_MAX as usize {
            let text = format!("{CONNECTIONS_MAX} nodes wait for orders of this head");
            return self.respond_listener(channel, refused(RefusalReason::Busy, text));
        }
        let handler = Arc::clone(&self.handler);
        self.listening.spawn(async move { (channel, handler.listen(from, remote, request).await) });
    }

    fn work(&mut self) {
        while self.working.len() < WORKING_MAX {
            let Some(Waiting { from, remote, request, channel }) = self.waiting.pop_front() else { return };
            let handler = Arc::clone(&self.handler);
            self.working.spawn(async move { (channel, handler.handle(from, remote, request).await) });
        }
    }

    fn respond(&mut self, channel: ResponseChannel<ControlResponse>, response: ControlResponse) {
        if self.swarm.behaviour_mut().control.send_response(channel, response).is_err() {
            tracing::debug!("an agent hung up before its answer");
        }
    }
}

impl Server {
    fn respond_listener(&mut self, channel: ResponseChannel<ControlResponse>, response: ControlResponse) {
        if self.swarm.behaviour_mut().listen.send_response(channel, response).is_err() {
            tracing::debug!("a node that waited for orders has gone");
        }
    }
}

const fn refused(reason: RefusalReason, text: String) -> ControlResponse {
    ControlResponse::Refused(Refusal { reason, text })
}
