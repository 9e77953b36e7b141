//! Sockets, and the limits within which async-tftp runs.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_tftp::server::TftpServerBuilder;
use tokio::sync::watch;

use super::files::Files;
use super::transfers::{Desk, Running};
use crate::boot::{ScriptError, autoexec_script};
use crate::dhcp::Evidence;
use crate::fleet::BootEvents;
use crate::registry::Snapshot;

/// Name under which iPXE looks for a script beside itself.
const AUTOEXEC: &str = "autoexec.ipxe";
/// How long an acknowledgement may take, and how often a window is sent again. Both are small: a client that aborts by an ERROR
/// packet is not heard by async-tftp, and until the retries are over no request from the same port is answered.
const TIMEOUT: Duration = Duration::from_secs(1);
const RETRIES: u32 = 5;
/// Largest block that fits an Ethernet frame beside the IP, UDP and TFTP headers. Bytes.
const BLOCK_MAX: u16 = 1468;
/// Largest window (RFC 7440); EDK2 asks for 4. Blocks.
const WINDOW_MAX: u16 = 16;
/// Pause after a socket failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What the TFTP service is told by the head's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses of the configured interfaces, with the port.
    pub listen: Vec<SocketAddr>,
    /// Where network boot programs lie, the preferred place first.
    pub directories: Vec<PathBuf>,
    /// Their names.
    pub files: Vec<String>,
    /// Port of the HTTP boot service, at the same addresses.
    pub http_port: u16,
}

impl Options {
    /// iPXE as distributions package it.
    pub fn new(listen: Vec<SocketAddr>, http_port: u16) -> Self {
        let directories = ["/usr/share/wulfpack/ipxe", "/usr/lib/ipxe", "/usr/share/ipxe", "/boot"];
        let files = ["undionly.kpxe", "ipxe.pxe", "snponly.efi", "ipxe.efi"];
        Self {
            listen,
            directories: directories.map(PathBuf::from).into(),
            files: files.map(String::from).into(),
            http_port,
        }
    }
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A port cannot be had.
    #[error("cannot listen on UDP {address}: {source} (another TFTP server on this host, or no CAP_NET_BIND_SERVICE?)")]
    Port {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not one network boot program.
    #[error("none of the network boot programs {names} is in {directories}: install iPXE (on Debian the package ipxe)")]
    NoFiles {
        /// What was looked for.
        names: String,
        /// Where.
        directories: String,
    },
    /// The script that leads to the boot scripts.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// A service whose sockets are open.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<(UdpSocket, Arc<Files>)>,
}

impl Server {
    /// Reads the files and opens the sockets.
    pub fn bind(options: &Options) -> Result<Self, BindError> {
        let files = Files::read(&options.directories, &options.files);
        if files.names().next().is_none() {
            let directories: Vec<_> = options.directories.iter().map(|path| path.display().to_string()).collect();
            return Err(BindError::NoFiles { names: options.files.join(", "), directories: directories.join(", ") });
        }
        let sockets = options.listen.iter().map(|&address| {
            let socket = UdpSocket::bind(address).map_err(|source| BindError::Port { address, source })?;
            // Each address leads to the HTTP service at that address.
            let mut files = files.clone();
            let script = autoexec_script((address.ip(), options.http_port).into())?;
            files.insert(AUTOEXEC, script.into());
            Ok((socket, Arc::new(files)))
        });
        Ok(Self { sockets: sockets.collect::<Result<_, BindError>>()? })
    }

    /// Where it listens: of use where a port was left to the kernel.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|(socket, _)| socket.local_addr().ok()).collect()
    }

    /// Answers until dropped; inside a tokio runtime.
    pub async fn run(self, nodes: watch::Receiver<Arc<Snapshot>>, evidence: Evidence, events: Arc<dyn BootEvents>) {
        let running = Arc::new(Mutex::new(Running::default()));
        let mut servers = tokio::task::JoinSet::new();
        for (socket, files) in self.sockets {
            let (nodes, evidence) = (nodes.clone(), evidence.clone());
            let desk = Desk { files, nodes, evidence, events: Arc::clone(&events), running: Arc::clone(&running) };
            servers.spawn(keep_serving(socket, desk));
        }
        while servers.join_next().await.is_some() {}
    }
}

/// async-tftp ends with the first error of its socket; the next begins with the same socket.
async fn keep_serving(socket: UdpSocket, desk: Desk) {
    loop {
        if let Err(error) = serve(&socket, desk.clone()).await {
            tracing::warn!(%error, "TFTP service begins again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn serve(socket: &UdpSocket, desk: Desk) -> async_tftp::Result<()> {
    let server = TftpServerBuilder::with_handler(desk)
        .std_socket(socket.try_clone()?)?
        .timeout(TIMEOUT)
        .ignore_client_timeout()
        .max_send_retries(RETRIES)
        .block_size_limit(BLOCK_MAX)
        .window_size_limit(WINDOW_MAX)
        .build()
        .await?;
    server.serve().await
}
