//! Sockets and clock for the server. A bad packet, a full queue or an interface that is down never ends it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use wulfpack_shared::time::{Mono, Now};

use super::Evidence;
use super::interfaces::{InterfaceError, Link, links};
use super::machine::{Input, Machine, Output, Settings, Status};
use super::packet::PACKET_MAX;
use crate::boot::Nbps;
use crate::fleet::BootEvents;
use crate::registry::Snapshot;

/// Packets that wait for the machine; more are dropped, and clients ask again.
const QUEUE: usize = 256;
/// Ports from here on are anybody's (ip(7), `ip_unprivileged_port_start`).
const UNPRIVILEGED: u16 = 1024;
/// Pause after an interface failed, such as while it is down.
const PAUSE: Duration = Duration::from_secs(1);

/// What the DHCP server is told by the head's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interfaces to serve; none means that there is no DHCP server to start.
    pub interfaces: Vec<String>,
    /// Port of the HTTP boot service, at the same addresses.
    pub http_port: u16,
    /// How long an address is lent.
    pub lease: Duration,
    /// Domain name for clients.
    pub domain: Option<String>,
    /// Name servers for clients.
    pub dns: Vec<Ipv4Addr>,
    /// Network boot programs.
    pub nbps: Nbps,
    /// Answer even where another server does.
    pub override_other: bool,
    /// Addresses of other heads of this cluster.
    pub own_heads: Vec<Ipv4Addr>,
}

impl Options {
    /// Defaults for these interfaces: leases of 12 hours, iPXE as Debian packages it.
    pub fn new(interfaces: Vec<String>, http_port: u16) -> Self {
        Self {
            interfaces,
            http_port,
            lease: Duration::from_secs(12 * 3600),
            domain: None,
            dns: vec![],
            nbps: Nbps::default(),
            override_other: false,
            own_heads: vec![],
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An interface cannot be used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A port cannot be had.
    #[error(
        "cannot listen on UDP port {port} of {interface}: {source} (another DHCP server on this host, or no CAP_NET_BIND_SERVICE and CAP_NET_RAW?)"
    )]
    Port {
        /// The interface.
        interface: String,
        /// The port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// No random number.
    #[error("no random number from the operating system: {0}")]
    Random(getrandom::Error),
}

/// What the rest of the head sees of a running server.
#[derive(Clone, Debug)]
pub struct Handle {
    status: watch::Receiver<Status>,
    overridden: watch::Sender<bool>,
}

impl Handle {
    /// Whether it answers, now and whenever that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Answers even where another server does, or no longer.
    pub fn set_override(&self, overridden: bool) {
        self.overridden.send_replace(overridden);
    }

    /// Whether it answers even where another server does.
    pub fn overridden(&self) -> bool {
        *self.overridden.borrow()
    }
}

struct Port {
    link: Link,
    server: UdpSocket,
    /// For the answers to our probes; not there where another program of this host has the port.
    client: Option<UdpSocket>,
}

/// A server whose sockets are open: what needs privileges is done.
pub struct Server {
    ports: Vec<Arc<Port>>,
    machine: Machine,
    status: watch::Sender<Status>,
    overridden: watch::Receiver<bool>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the sockets; inside a tokio runtime.
    pub fn bind(options: Options) -> Result<(Self, Handle), BindError> {
        let links = links(&options.interfaces)?;
        let mut ports = vec![];
        for link in &links {
            let server = socket(link, SERVER_PORT).map_err(|source| port_error(link, SERVER_PORT, source))?;
            let client = socket(link, CLIENT_PORT)
                .inspect_err(|error| {
                    tracing::warn!(interface = %link.name, %error, "UDP port 68 is taken: other DHCP servers are noticed only by their clients");
                })
                .ok();
            ports.push(Arc::new(Port { link: link.clone(), server, client }));
        }
        let machine = Machine::new(Settings {
            links,
            http_port: options.http_port,
            lease: options.lease,
            domain: options.domain,
            dns: options.dns,
            nbps: options.nbps,
            override_other: options.override_other,
            own_heads: options.own_heads,
            seed: getrandom::u32().map_err(BindError::Random)?,
        });
        let (status, status_seen) = watch::channel(machine.status());
        let (set, overridden) = watch::channel(options.override_other);
        Ok((Self { ports, machine, status, overridden }, Handle { status: status_seen, overridden: set }))
    }

    /// Answers until dropped.
    pub async fn run(
        mut self,
        mut nodes: watch::Receiver<Arc<Snapshot>>,
        evidence: Evidence,
        events: Arc<dyn BootEvents>,
    ) {
        let start = Instant::now();
        let now = || Now::mono(Mono(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)));
        let (sender, mut packets) = mpsc::channel(QUEUE);
        let mut readers = tokio::task::JoinSet::new();
        for (index, port) in self.ports.iter().enumerate() {
            readers.spawn(read(index, Arc::clone(port), false, sender.clone()));
            readers.spawn(read(index, Arc::clone(port), true, sender.clone()));
        }
        let snapshot = Arc::clone(&nodes.borrow_and_update());
        self.machine.handle_input(now(), Input::Nodes(snapshot));
        // A sender that is gone means: no changes any more.
        let (mut registry, mut control) = (true, true);
        loop {
            self.drain(&evidence, &*events).await;
            let wait = self.machine.poll_timeout().map_or(Duration::from_secs(60), |(at, _)| at.since(now().mono));
            tokio::select! {
                Some((link, bytes)) = packets.recv() => {
                    self.machine.handle_input(now(), Input::Packet { link, bytes: &bytes });
                }
                changed = nodes.changed(), if registry => {
                    registry = changed.is_ok();
                    let snapshot = Arc::clone(&nodes.borrow_and_update());
                    self.machine.handle_input(now(), Input::Nodes(snapshot));
                }
                changed = self.overridden.changed(), if control => {
                    control = changed.is_ok();
                    let overridden = *self.overridden.borrow_and_update();
                    self.machine.handle_input(now(), Input::Override(overridden));
                }
                () = tokio::time::sleep(wait) => self.machine.handle_input(now(), Input::Tick),
            }
        }
    }

    async fn drain(&mut self, evidence: &Evidence, events: &dyn BootEvents) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { link, source, source_port, to, bytes } => {
                    let Some(port) = self.ports.get(link) else { continue };
                    if let Err(error) = port.send(source, source_port, to, &bytes).await {
                        tracing::warn!(interface = %port.link.name, %to, %error, "DHCP packet not sent");
                    }
                }
                Output::Given { mac, address, boots } => evidence.given(mac, address, boots, Instant::now()),
                Output::Released { mac } => evidence.released(mac),
                Output::Event(event) => events.record(event),
            }
        }
        let status = self.machine.status();
        self.status.send_if_modified(|seen| {
            if seen.state != status.state {
                tracing::warn!(state = %status.state, "DHCP");
            }
            core::mem::replace(seen, status) != status
        });
    }
}

impl Port {
    /// Sends from one of the interface's addresses (ip(7), `IP_PKTINFO`).
    async fn send(&self, source: Ipv4Addr, source_port: u16, to: SocketAddrV4, bytes: &[u8]) -> io::Result<()> {
        let socket = match (source_port, &self.client) {
            (CLIENT_PORT, Some(client)) => client,
            // Without the port for answers there is nothing to ask for.
            (CLIENT_PORT, None) => return Ok(()),
            _ => &self.server,
        };
        let from = in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
        let info = in_pktinfo {
            ipi_ifindex: i32::try_from(self.link.index).unwrap_or(0),
            ipi_spec_dst: from,
            ipi_addr: in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(to);
        let send = || {
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(socket.as_raw_fd(), &[io::IoSlice::new(bytes)], &control, MsgFlags::empty(), Some(&to))
                .map_err(io::Error::from)
        };
        socket.async_io(Interest::WRITABLE, send).await.map(|_| ())
    }
}

fn port_error(link: &Link, port: u16, source: io::Error) -> BindError {
    BindError::Port { interface: link.name.clone(), port, source }
}

/// A UDP socket that hears and speaks on one interface only.
fn socket(link: &Link, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(link.name.as_bytes()))?;
    // Several interfaces share the port; with SO_BINDTODEVICE each packet still has one receiver.
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    UdpSocket::from_std(socket.into())
}

async fn read(index: usize, port: Arc<Port>, client: bool, packets: mpsc::Sender<(usize, Vec<u8>)>) {
    let socket = match (client, &port.client) {
        (false, _) => &port.server,
        (true, Some(socket)) => socket,
        (true, None) => return,
    };
    let mut buffer = vec![0; PACKET_MAX + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            // Clients and relays speak from ports that need privileges (RFC 2131, section 4.1). What comes from another port may
            // come from any user of a node, who must not ask in the node's name.
            Ok((_, from)) if from.port() >= UNPRIVILEGED => {
                tracing::debug!(interface = %port.link.name, %from, "DHCP packet of an unprivileged sender ignored");
            }
            Ok((len, _)) => {
                let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                if let Err(mpsc::error::TrySendError::Closed(_)) = packets.try_send((index, bytes)) {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(interface = %port.link.name, %error, "DHCP socket");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
impl Handle {
    /// A handle of no server, which says this of it.
    pub(crate) fn saying(status: Status) -> Self {
        Self { status: watch::Sender::new(status).subscribe(), overridden: watch::Sender::new(false) }
    }
}
