//! The network of one lab: a switch, and ports with a link each.
//!
//! ```text
//!   wulf-PID-LAB-switch:  br0 ── p0 ── p1 ── p2 …
//!                                │     │     │            both ends of every link are shaped
//!   …-head:                    eth0    │     │
//!   …-n1 (a process):                eth0    │
//!   …-n2 (a machine):                      eth0 ── br0 ── tap0 ── QEMU
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::cleanup::{Guard, Undo};
use super::netns::{Namespace, sweep};
use super::paths::cache_dir;
use super::process::Process;
use super::rate::{Rate, shape};
use super::tool::{ip, require};

/// Length of the lab network's prefix.
const PREFIX: u8 = 16;
/// Address 10.42.0.1 is the head's; nodes begin at 10.42.1.1.
const HEAD: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
/// Second byte of the addresses of the lab's network, and of the one behind routers.
const NEAR: u8 = 42;
const FAR: u8 = 43;

/// A switch and what hangs on it. Dropping it removes all networks; its logs stay unless [`Lab::succeeded`] was called.
#[derive(Debug)]
pub struct Lab {
    number: u64,
    capture: Option<Process>,
    switch: Namespace,
    ports: AtomicU64,
    logs: PathBuf,
    work: PathBuf,
    sockets: PathBuf,
    scratch: Vec<Guard>,
    succeeded: bool,
}

/// One end of a link: a namespace with `eth0`, or with a bridge for a machine's tap.
#[derive(Debug)]
pub struct Port {
    /// Namespace at the far end of the link.
    pub namespace: Namespace,
    /// What is called after it: `head`, `n1`, …
    pub name: String,
    index: u64,
    /// Second byte of its network's addresses.
    network: u8,
}

impl Lab {
    /// Makes the switch; `name` is in the path of its logs.
    pub fn new(name: &str) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        ensure!(nix::unistd::geteuid().is_root(), "a lab makes network namespaces: it has to run as root");
        require(&["ip", "tc", "ethtool", "setpriv"])?;
        sweep()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let run = cache_dir()?.join("runs").join(format!("{name}-{}-{number}", std::process::id()));
        let (logs, work) = (run.join("logs"), run.join("work"));
        // The path of a Unix socket may have 107 bytes, and the clone may lie deep.
        let sockets = std::env::temp_dir().join(format!("wulf-{}-{number}", std::process::id()));
        let scratch = [&work, &sockets].map(|path| Guard::new(Undo::Remove(path.clone()))).into();
        for path in [&logs, &work, &sockets] {
            std::fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        }
        let switch = Namespace::new(number, "switch")?;
        ip(&format!("-n {} link add br0 type bridge forward_delay 0", switch.name()))?;
        ip(&format!("-n {} link set br0 up", switch.name()))?;
        Ok(Self { number, capture: None, switch, ports: 0.into(), logs, work, sockets, scratch, succeeded: false })
    }

    /// Where logs go. They are kept when the lab fails.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// A directory for everything else; it is removed with the lab.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// A directory with a short path, for sockets.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Plugs the head in, at 10.42.0.1 on `eth0`, and records boot traffic there where tcpdump is installed.
    pub fn head_port(&mut self, rate: Option<Rate>) -> Result<Port> {
        let port = self.port("head", rate)?;
        port.assign(HEAD)?;
        if require(&["tcpdump"]).is_ok() {
            let file = self.logs.join("boot.pcap");
            let mut command = port.namespace.command("tcpdump");
            command.args(["-i", "eth0", "-U", "-q", "-w"]).arg(file);
            command.arg("udp port 67 or udp port 68 or udp port 69 or arp");
            let capture = Process::start("tcpdump", command, &self.logs.join("tcpdump.log"))?;
            capture.console().wait_for("listening on", Duration::from_secs(10))?;
            self.capture = Some(capture);
        }
        Ok(port)
    }

    /// Plugs a process's namespace in, with its own address on `eth0`.
    pub fn process_port(&self, name: &str, rate: Option<Rate>) -> Result<Port> {
        let port = self.port(name, rate)?;
        port.assign(port.address())?;
        Ok(port)
    }

    /// Plugs a machine in: `tap0` is there for QEMU.
    pub fn machine_port(&self, name: &str, rate: Option<Rate>) -> Result<Port> {
        self.port(name, rate)?.with_tap()
    }

    /// Plugs a host in that has no address yet; its `eth0` has the port's MAC address.
    pub fn client_port(&self, name: &str) -> Result<Port> {
        self.port(name, None)?.with_own_mac()
    }

    /// A router between the lab's network and one of its own: `far0`, at 10.43.0.`last`/16. `from` sends there through it.
    pub fn router_port(&self, name: &str, last: u8, from: &Port) -> Result<Port> {
        let router = self.process_port(name, None)?;
        let namespace = router.namespace.name();
        ip(&format!("-n {namespace} link add far0 type bridge forward_delay 0"))?;
        ip(&format!("-n {namespace} link set far0 up"))?;
        ip(&format!("-n {namespace} address add 10.{FAR}.0.{last}/{PREFIX} dev far0"))?;
        router.namespace.run("sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        let (home, via) = (from.namespace.name(), router.address());
        ip(&format!("-n {home} route add 10.{FAR}.0.{last}/32 via {via}"))?;
        // The first router leads to all the rest of that network.
        drop(ip(&format!("-n {home} route add 10.{FAR}.0.0/{PREFIX} via {via}")));
        Ok(router)
    }

    /// Plugs a host in behind a router, without an address; its `eth0` has the port's MAC address.
    pub fn far_port(&self, router: &Port, name: &str) -> Result<Port> {
        self.plug(name, &router.namespace, "far0", FAR)?.with_own_mac()
    }

    /// Plugs a machine in behind a router.
    pub fn far_machine_port(&self, router: &Port, name: &str) -> Result<Port> {
        self.plug(name, &router.namespace, "far0", FAR)?.with_tap()
    }

    /// A link from a bridge to a namespace of its own.
    fn plug(&self, name: &str, into: &Namespace, bridge: &str, network: u8) -> Result<Port> {
        let index = self.ports.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace::new(self.number, name)?;
        let (switch, near) = (into.name(), format!("p{index}"));
        ip(&format!("-n {switch} link add {near} type veth peer name eth0 netns {}", namespace.name()))?;
        ip(&format!("-n {switch} link set {near} master {bridge} up"))?;
        ip(&format!("-n {} link set eth0 up", namespace.name()))?;
        Ok(Port { namespace, name: name.to_owned(), index, network })
    }

    fn port(&self, name: &str, rate: Option<Rate>) -> Result<Port> {
        let port = self.plug(name, &self.switch, "br0", NEAR)?;
        let near = format!("p{}", port.index);
        if let Some(rate) = rate {
            shape(&port.namespace, "eth0", rate)?;
            shape(&self.switch, &near, rate)?;
        }
        Ok(port)
    }

    /// Pulls or plugs the cable of `port`.
    pub fn set_cable(&self, port: &Port, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        ip(&format!("-n {} link set p{} {state}", self.switch.name(), port.index))
    }

    /// Lets this port talk with the head only: two ports that are both kept apart do not hear each other.
    pub fn isolate(&self, port: &Port) -> Result<()> {
        self.switch.run("bridge", &["link", "set", "dev", &format!("p{}", port.index), "isolated", "on"]).map(drop)
    }

    /// Says that the logs are of no interest.
    pub fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(capture) = self.capture.take() {
            // It writes the end of its file when asked to stop.
            capture.signal(Signal::SIGINT);
            drop(capture.wait(Duration::from_secs(5)));
        }
        if self.succeeded {
            self.scratch.clear();
            drop(std::fs::remove_dir_all(&self.logs));
            // Only when it is empty.
            drop(self.logs.parent().map(std::fs::remove_dir));
        } else {
            use std::io::Write as _;
            drop(writeln!(std::io::stderr(), "logs: {}", self.logs.display()));
        }
    }
}

impl Port {
    /// The address that belongs to this port.
    pub fn address(&self) -> Ipv4Addr {
        if self.name == "head" { HEAD } else { node_address(self.network, self.index) }
    }

    /// The MAC address of a machine on this port.
    pub fn mac(&self) -> String {
        let [.., high, low] = self.index.to_be_bytes();
        format!("52:54:00:42:{high:02x}:{low:02x}")
    }

    /// The IPv6 address that belongs to this port, in a /64.
    pub fn address6(&self) -> Ipv6Addr {
        let last = if self.name == "head" { 1 } else { (self.index as u16) + 256 };
        Ipv6Addr::new(0xfd42, 0, 0, 0, 0, 0, 0, last)
    }

    /// Gives the port its IPv6 address, and takes the other away.
    pub fn only_ipv6(&self) -> Result<()> {
        let namespace = self.namespace.name();
        ip(&format!("-n {namespace} -4 address flush dev eth0"))?;
        ip(&format!("-n {namespace} -6 address add {}/64 dev eth0 nodad", self.address6()))
    }

    /// `tap0` beside `eth0`, for a machine.
    fn with_tap(self) -> Result<Self> {
        let namespace = self.namespace.name();
        ip(&format!("-n {namespace} link add br0 type bridge forward_delay 0"))?;
        ip(&format!("-n {namespace} tuntap add tap0 mode tap"))?;
        for device in ["eth0", "tap0"] {
            ip(&format!("-n {namespace} link set {device} master br0 up"))?;
        }
        ip(&format!("-n {namespace} link set br0 up"))?;
        Ok(self)
    }

    fn with_own_mac(self) -> Result<Self> {
        ip(&format!("-n {} link set eth0 address {}", self.namespace.name(), self.mac()))?;
        Ok(self)
    }

    /// Length of the network's prefix.
    pub fn prefix(&self) -> u8 {
        PREFIX
    }

    /// Gives `eth0` this address.
    pub fn assign(&self, address: Ipv4Addr) -> Result<()> {
        ip(&format!("-n {} address replace {address}/{PREFIX} dev eth0", self.namespace.name()))
    }
}

fn node_address(network: u8, index: u64) -> Ipv4Addr {
    let [.., high, low] = (index + 256).to_be_bytes();
    Ipv4Addr::new(10, network, high, low)
}
