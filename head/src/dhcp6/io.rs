//! One socket for each interface.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use wulfpack_shared::limits::DHCP6_PACKET_MAX;
use wulfpack_shared::time::Mono;

use super::machine::{Input, Link, Machine, Output, SERVER_PORT, Settings};
use crate::dhcp::Evidence;
use crate::fleet::BootEvents;
use crate::registry::Snapshot;

/// All servers and relays of a link (RFC 8415, section 7.1).
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Packets that wait for their turn; who sends more than are answered is not heard.
const QUEUE: usize = 4096;
/// Pause after a socket failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on UDP port {SERVER_PORT} of {interface}: {source} (another DHCPv6 server on this host, or no CAP_NET_BIND_SERVICE and CAP_NET_RAW?)"
)]
pub struct BindError {
    /// The interface.
    interface: String,
    /// What the kernel said.
    source: io::Error,
}

/// A server whose sockets are open.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<Arc<UdpSocket>>,
    machine: Machine,
}

impl Server {
    /// Opens the sockets on the named interfaces; inside a tokio runtime.
    pub fn bind(names: &[String], settings: Settings) -> Result<Self, BindError> {
        let open = |(name, link): (&String, &Link)| {
            let socket = socket(name, link.index).map_err(|source| BindError { interface: name.clone(), source })?;
            Ok(Arc::new(socket))
        };
        let sockets = names.iter().zip(&settings.links).map(open).collect::<Result<_, _>>()?;
        Ok(Self { sockets, machine: Machine::new(settings) })
    }

    /// Answers until dropped.
    pub async fn run(
        mut self,
        mut nodes: watch::Receiver<Arc<Snapshot>>,
        evidence: Evidence,
        events: Arc<dyn BootEvents>,
    ) {
        let start = Instant::now();
        let now = || Mono(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let (sender, mut packets) = mpsc::channel(QUEUE);
        let mut readers = tokio::task::JoinSet::new();
        for (index, socket) in self.sockets.iter().enumerate() {
            readers.spawn(read(index, Arc::clone(socket), sender.clone()));
        }
        let snapshot = Arc::clone(&nodes.borrow_and_update());
        self.machine.handle_input(now(), Input::Nodes(snapshot));
        let mut registry = true;
        loop {
            self.drain(&evidence, &*events).await;
            tokio::select! {
                Some((link, from, bytes)) = packets.recv() => {
                    self.machine.handle_input(now(), Input::Packet { link, from, bytes: &bytes });
                }
                changed = nodes.changed(), if registry => {
                    registry = changed.is_ok();
                    let snapshot = Arc::clone(&nodes.borrow_and_update());
                    self.machine.handle_input(now(), Input::Nodes(snapshot));
                }
            }
        }
    }

    async fn drain(&mut self, evidence: &Evidence, events: &dyn BootEvents) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { link, to, bytes } => {
                    let Some(socket) = self.sockets.get(link) else { continue };
                    if let Err(error) = socket.send_to(&bytes, SocketAddr::V6(to)).await {
                        tracing::warn!(%to, %error, "DHCPv6 packet not sent");
                    }
                }
                Output::Given { mac, address, boots } => evidence.given(mac, address, boots, Instant::now()),
                Output::Event(event) => events.record(event),
            }
        }
    }
}

fn socket(name: &str, index: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVER_PORT)).into())?;
    socket.join_multicast_v6(&ALL_SERVERS, index)?;
    UdpSocket::from_std(socket.into())
}

async fn read(index: usize, socket: Arc<UdpSocket>, packets: mpsc::Sender<(usize, SocketAddrV6, Vec<u8>)>) {
    let mut buffer = vec![0; DHCP6_PACKET_MAX + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            // Clients and relays speak from ports that need privileges (RFC 8415, section 7.2). What comes from another port may
            // come from any user of a node, who must not ask in the node's name.
            Ok((len, SocketAddr::V6(from))) if from.port() < 1024 => {
                let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                if let Err(mpsc::error::TrySendError::Closed(_)) = packets.try_send((index, from, bytes)) {
                    return;
                }
            }
            Ok((_, from)) => tracing::debug!(%from, "DHCPv6 packet of an unprivileged sender ignored"),
            Err(error) => {
                tracing::warn!(%error, "DHCPv6 socket");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
