//! The client's socket, its task, and the lease as a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use wulfpack_shared::time::Mono;

use super::lease::Lease;
use super::machine::{Client, Input, Output};
use super::packet::{ClientId, PACKET_MAX};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Largest lease file. Bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Why the client cannot run, or a lease cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// No socket.
    #[error("cannot open the DHCP client's socket on {interface}: {source}")]
    Socket {
        /// The interface.
        interface: String,
        /// Why not.
        source: io::Error,
    },
    /// No random seed.
    #[error("cannot seed the DHCP client: {0}")]
    Seed(rustix::io::Errno),
    /// The lease file.
    #[error("cannot {what} the lease file {path}: {source}")]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// A running client. It asks, renews and asks again until it is dropped.
#[derive(Debug)]
pub struct DhcpClient {
    lease: watch::Receiver<Option<Lease>>,
    task: JoinHandle<()>,
}

impl Drop for DhcpClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A socket on the client's port of one interface. It works before the interface has an address.
fn socket(interface: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // The system's own client may start while this one still runs.
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).into())?;
    UdpSocket::from_std(socket.into())
}

impl DhcpClient {
    /// Starts a client on an interface that is up. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// [`DhcpError::Socket`], [`DhcpError::Seed`].
    pub fn start(interface: &str, id: ClientId) -> Result<Self, DhcpError> {
        let failed = |source| DhcpError::Socket { interface: interface.to_owned(), source };
        let socket = socket(interface).map_err(failed)?;
        let mut seed = [0; 32];
        // For pauses and transaction numbers: not worth a wait for the kernel's random numbers.
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::INSECURE).map_err(DhcpError::Seed)?;
        let (tell, lease) = watch::channel(None);
        let task = tokio::spawn(run(socket, Client::new(id, ChaCha8Rng::from_seed(seed)), tell));
        Ok(Self { lease, task })
    }

    /// The lease in force: `None` until the first, and again when one was lost.
    pub fn lease(&self) -> watch::Receiver<Option<Lease>> {
        self.lease.clone()
    }
}

async fn run(socket: UdpSocket, mut client: Client, tell: watch::Sender<Option<Lease>>) {
    let start = Instant::now();
    let mono = || Mono(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let mut buffer = [0; PACKET_MAX];
    loop {
        while let Some(output) = client.poll_output() {
            act(&socket, output, &tell).await;
        }
        let next = client.poll_timeout().map(|(at, _)| start + Duration::from_nanos(at.0));
        let tick = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            received = socket.recv(&mut buffer) => match received {
                Ok(len) => client.handle_input(mono(), Input::Packet(buffer.get(..len).unwrap_or_default())),
                // A link that goes down; the next timer asks again.
                Err(error) => {
                    tracing::debug!(%error, "DHCP socket");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
            () = tick => client.handle_input(mono(), Input::Tick),
        }
    }
}

async fn act(socket: &UdpSocket, output: Output, tell: &watch::Sender<Option<Lease>>) {
    match output {
        Output::Send { to, packet } => {
            let to = SocketAddrV4::new(to.unwrap_or(Ipv4Addr::BROADCAST), SERVER_PORT);
            if let Err(error) = socket.send_to(&packet, to).await {
                tracing::debug!(%error, %to, "DHCP packet not sent; it is repeated");
            }
        }
        Output::Bound(lease) => {
            tracing::info!(ip = %lease.ip, prefix = lease.prefix, server = %lease.server, seconds = lease.lease_s, "lease");
            tell.send_replace(Some(lease));
        }
        Output::Lost(why) => {
            tracing::warn!(?why, "lease lost");
            tell.send_replace(None);
        }
    }
}

/// Writes the lease where the running system finds it, such as `/run/wulfpack/lease.json` (mode 0644), atomically.
///
/// # Errors
/// [`DhcpError::File`].
pub fn write_lease(path: &Path, lease: &Lease) -> Result<(), DhcpError> {
    let write = || {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(lease)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| DhcpError::File { what: "write", path: path.display().to_string(), source })
}

/// Reads what [`write_lease`] wrote; `None` if there is no file.
///
/// # Errors
/// [`DhcpError::File`], also for a file that is no lease.
pub fn read_lease(path: &Path) -> Result<Option<Lease>, DhcpError> {
    let read = || {
        let file = File::open(path)?;
        serde_json::from_reader(io::Read::take(file, FILE_MAX)).map_err(io::Error::from)
    };
    match read() {
        Ok(lease) => Ok(Some(lease)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DhcpError::File { what: "read", path: path.display().to_string(), source }),
    }
}
