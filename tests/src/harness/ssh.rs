//! The instrument that tells when a node is ready, and the proof that one can log in.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::lab::Port;
use super::netns::Namespace;
use super::tool::run;

const SSH_PORT: u16 = 22;
const CONNECT: Duration = Duration::from_millis(500);
/// Pause after a refused connection: the resolution of the instrument.
const AGAIN: Duration = Duration::from_millis(50);

/// Waits until an SSH server greets at `address`, seen from `namespace`; returns the moment.
///
/// The node's own boot report is not asked: every boot, ours or another's, is timed by this and by nothing else.
pub fn wait_for_banner(namespace: &Namespace, address: IpAddr, timeout: Duration) -> Result<Instant> {
    let deadline = Instant::now() + timeout;
    namespace.enter(|| {
        while Instant::now() < deadline {
            if banner(SocketAddr::new(address, SSH_PORT)) {
                return Ok(Instant::now());
            }
            std::thread::sleep(AGAIN);
        }
        bail!("no SSH server greeted at {address} within {} s", timeout.as_secs())
    })?
}

fn banner(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, CONNECT) else { return false };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(Duration::from_secs(30))).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && &greeting == b"SSH-"
}

/// A key made for one lab.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// File with the private key.
    pub private: PathBuf,
    /// The public key as a line of `authorized_keys`.
    pub public: String,
}

impl KeyPair {
    /// Makes `name` and `name.pub` in `dir`.
    pub fn generate(dir: &Path, name: &str) -> Result<Self> {
        let private = dir.join(name);
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "wulfpack-lab", "-f"])
            .arg(&private))?;
        let public = private.with_extension("pub");
        let public = std::fs::read_to_string(&public).with_context(|| format!("read {}", public.display()))?;
        Ok(Self { private, public: public.trim().to_owned() })
    }
}

/// How root logs in from the head.
#[derive(Debug)]
pub struct Login<'a> {
    /// Where the connection starts.
    pub from: &'a Port,
    /// The key that the node accepts.
    pub key: &'a KeyPair,
}

const OPTIONS: [&str; 10] = [
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=20",
    "-o",
    "LogLevel=ERROR",
];

impl Login<'_> {
    /// Runs a shell command on the node as root and returns what it printed.
    pub fn run(&self, address: IpAddr, script: &str) -> Result<String> {
        let mut command = self.from.namespace.command("ssh");
        command.arg("-i").arg(&self.key.private).args(OPTIONS).arg(format!("root@{address}")).arg(script);
        run(&mut command).with_context(|| format!("log in to {address}"))
    }
}

/// The command by which a person logs in.
pub fn login_command(from: &Port, key: &KeyPair, address: IpAddr) -> String {
    let options = OPTIONS.chunks(2).filter(|pair| pair[1] != "BatchMode=yes").map(|pair| pair.join(" "));
    format!(
        "ip netns exec {} ssh -i {} {} root@{address}",
        from.namespace.name(),
        key.private.display(),
        options.collect::<Vec<_>>().join(" ")
    )
}
