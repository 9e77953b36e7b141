//! Sockets: requests come to the known port, files go out of another one.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use wulfpack_shared::time::Mono;

use super::machine::{Input, Machine, Output};
use super::packet::error;
use super::path::Wanted;
use crate::config::TokenEvidence;
use crate::fleet::BootEvent;
use crate::http::{Desk, Handout, Listen, Peer, Refusal};

/// Largest blocks that fit an Ethernet frame beside the headers of IP, UDP and TFTP. Bytes.
const BLOCK_MAX_V4: u16 = 1468;
const BLOCK_MAX_V6: u16 = 1448;
/// Room for what arrives while others are served: the acknowledgements of some thousand machines. Bytes.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Longest packet that is looked at; requests and acknowledgements are far shorter. Bytes.
const PACKET_MAX: usize = 2048;
/// Packets that are read before time and others get their turn.
const BATCH: usize = 64;
/// Pause after a socket failed.
const PAUSE: Duration = Duration::from_millis(200);

/// What the TFTP service is told by the head's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, and what join tokens are given on there.
    pub listen: Vec<Listen>,
    /// Port of the HTTP boot service, at the same addresses.
    pub http_port: u16,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP {address}: {source} (another TFTP server on this host, or no CAP_NET_BIND_SERVICE?)")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the kernel said.
    pub source: io::Error,
}

/// A service whose sockets are open.
#[derive(Debug)]
pub struct Server {
    places: Vec<Place>,
}

/// One address.
#[derive(Debug)]
struct Place {
    requests: UdpSocket,
    files: UdpSocket,
    /// Our HTTP address there.
    local: SocketAddr,
    proof: TokenEvidence,
}

impl Server {
    /// Opens the sockets; inside a tokio runtime.
    pub fn bind(options: &Options) -> Result<Self, BindError> {
        let places = options.listen.iter().map(|&Listen { address, proof }| {
            let failed = |source| BindError { address, source };
            let requests = socket(address).map_err(failed)?;
            let files = socket(SocketAddr::new(address.ip(), 0)).map_err(failed)?;
            Ok(Place { requests, files, local: SocketAddr::new(address.ip(), options.http_port), proof })
        });
        Ok(Self { places: places.collect::<Result<_, _>>()? })
    }

    /// Where it listens: of use where a port was left to the kernel.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.places.iter().filter_map(|place| place.requests.local_addr().ok()).collect()
    }

    /// Answers until dropped.
    pub async fn run(self, desk: Arc<Desk>) {
        let mut servers = JoinSet::new();
        for place in self.places {
            servers.spawn(serve(place, Arc::clone(&desk)));
        }
        while servers.join_next().await.is_some() {}
    }
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel may give less.
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "receive buffer of the TFTP service");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// What runs at one address.
struct Service {
    place: Place,
    desk: Arc<Desk>,
    machine: Machine,
    started: Instant,
    /// Files that are being got.
    opening: JoinSet<(u64, Handout)>,
    /// What the fleet is told when a request has come to its end.
    events: BTreeMap<u64, BootEvent>,
}

async fn serve(place: Place, desk: Arc<Desk>) {
    let block_max = if place.local.is_ipv4() { BLOCK_MAX_V4 } else { BLOCK_MAX_V6 };
    let machine = Machine::new(block_max);
    let (opening, events) = (JoinSet::new(), BTreeMap::new());
    let mut service = Service { place, desk, machine, started: Instant::now(), opening, events };
    let mut buffer = vec![0; PACKET_MAX];
    loop {
        let timeout = service.machine.poll_timeout().map(|(at, _)| service.started + Duration::from_nanos(at.0));
        let failed = tokio::select! {
            ready = service.place.requests.readable() => ready.and_then(|()| service.receive(&mut buffer, true)).err(),
            ready = service.place.files.readable() => ready.and_then(|()| service.receive(&mut buffer, false)).err(),
            Some(opened) = service.opening.join_next() => {
                if let Ok((id, handout)) = opened {
                    service.opened(id, handout);
                }
                None
            }
            () = wait(timeout) => {
                let now = service.now();
                service.handle(now, Input::Tick);
                None
            }
        };
        if let Some(error) = failed {
            tracing::warn!(%error, "TFTP socket");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl Service {
    fn now(&self) -> Mono {
        Mono(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn receive(&mut self, buffer: &mut [u8], request: bool) -> io::Result<()> {
        for _ in 0..BATCH {
            let socket = if request { &self.place.requests } else { &self.place.files };
            match socket.try_recv_from(buffer) {
                Ok((len, from)) => {
                    let now = self.now();
                    self.handle(now, Input::Packet { from, bytes: buffer.get(..len).unwrap_or_default() });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What a client that is gone lets its host say (ICMP).
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn opened(&mut self, id: u64, handout: Handout) {
        let file: Result<Bytes, (u16, String)> = match handout {
            Ok((bytes, event)) => {
                self.events.extend(event.map(|event| (id, event)));
                Ok(bytes)
            }
            Err(Refusal::Missing(why)) => Err((error::NOT_FOUND, why.to_owned())),
            Err(Refusal::Forbidden(why)) => Err((error::ACCESS, why)),
            Err(Refusal::Failed(why)) => Err((error::UNDEFINED, why)),
        };
        let now = self.now();
        self.handle(now, Input::Opened { id, file });
    }

    fn handle(&mut self, now: Mono, input: Input<'_>) {
        self.machine.handle_input(now, input);
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    // What the kernel has no room for counts as lost on the way.
                    if let Err(error) = self.place.files.try_send_to(&bytes, to) {
                        tracing::trace!(%to, %error, "TFTP packet not sent");
                    }
                }
                Output::Open { id, from, path } => {
                    let (desk, wanted) = (Arc::clone(&self.desk), Wanted::parse(&path));
                    let Place { local, proof, .. } = self.place;
                    let peer = Peer { remote: SocketAddr::new(canonical(from.ip()), from.port()), local, proof };
                    tracing::debug!(%from, path, "TFTP request");
                    self.opening.spawn(async move { (id, get(&desk, peer, wanted).await) });
                }
                Output::Ended { id, bytes, whole } => {
                    // Firmware first asks for the size alone and aborts: only a file that was read to its end was handed out.
                    if let Some(mut event) = self.events.remove(&id).filter(|_| whole) {
                        event.bytes = bytes;
                        self.desk.record(event);
                    }
                }
            }
        }
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

async fn get(desk: &Arc<Desk>, peer: Peer, wanted: Wanted) -> Handout {
    match wanted {
        Wanted::Autoexec(loader) => desk.autoexec(loader, peer),
        Wanted::Script(loader, mac) => desk.script(loader, peer, mac).await,
        Wanted::Token(mac) => desk.token(peer, mac).await,
        Wanted::File(version, release, file) => desk.file(peer, version, &release, file, None).await,
        Wanted::Agent(format) => desk.agent(peer, format).await,
        Wanted::Signed(mac, loader) => desk.signed_loader(peer, mac, loader).await,
        Wanted::Program(name) => desk.program(peer, &name).await,
    }
}
