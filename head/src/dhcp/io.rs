//! Sockets and clock for the server. A bad packet, a full queue or an interface that is down never ends it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use wulfpack_shared::net::clock::MonoClock;
use wulfpack_shared::time::Now;

use super::act::PXE_PORT;
use super::evidence::Evidence;
use super::hear::{Heard, read, read_arp, socket};
use super::interfaces::{InterfaceError, Link, links};
use super::machine::{Input, Machine, Output, Port, Settings, Status};
use super::packet::machine_of;
use super::policy::Policy;
use super::raw::RawSocket;
use super::send::{Acting, Promise, keep, stored};
use crate::boot::Nbps;
use crate::config::DhcpMode;
use crate::fleet::BootEvents;
use crate::registry::Snapshot;
use crate::store::Store;
use crate::trace::{Entry, TraceHandle};

/// Packets that wait for the machine; more are dropped, and clients ask again.
const QUEUE: usize = 4096;
/// Packets that are worked off in one turn.
const BATCH: usize = 64;

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
    /// Networks, reservations, options, and who gives the addresses.
    pub policy: Policy,
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
            policy: Policy::default(),
        }
    }

    /// What a server on these interfaces goes by; `seed` is a random number that tells its probes from those of others.
    pub fn settings(self, links: Vec<Link>, seed: u32) -> Settings {
        Settings {
            links,
            http_port: self.http_port,
            lease: self.lease,
            domain: self.domain,
            dns: self.dns,
            nbps: self.nbps,
            override_other: self.override_other,
            own_heads: self.own_heads,
            seed,
            policy: self.policy,
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
    settings: Arc<Settings>,
}

impl Handle {
    /// What the server goes by.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

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

/// The sockets of one interface.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) link: Link,
    pub(super) server: UdpSocket,
    /// For the answers to our probes; not there where another program of this host has the port.
    pub(super) client: Option<UdpSocket>,
    /// For PXE firmware beside another server; likewise.
    pub(super) pxe: Option<UdpSocket>,
    /// For machines without an address, and for ARP; not there without the privilege.
    pub(super) raw: Option<RawSocket>,
}

/// A server whose sockets are open: what needs privileges is done.
pub struct Server {
    wires: Vec<Arc<Wire>>,
    machine: Machine,
    status: watch::Sender<Status>,
    overridden: watch::Receiver<bool>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// What the server works with.
#[derive(Clone, Debug)]
pub struct Services {
    /// The registry.
    pub nodes: watch::Receiver<Arc<Snapshot>>,
    /// Learns which address a machine has.
    pub evidence: Evidence,
    /// Learns what happens.
    pub events: Arc<dyn BootEvents>,
    /// Keeps every packet for a while.
    pub trace: TraceHandle,
    /// Keeps the leases of ranges.
    pub store: Arc<dyn Store>,
}

impl Server {
    /// Opens the sockets; inside a tokio runtime.
    pub fn bind(options: Options) -> Result<(Self, Handle), BindError> {
        let links = links(&options.interfaces)?;
        let proxy = options.policy.mode != DhcpMode::Full;
        let mut wires = vec![];
        for link in &links {
            let server = socket(link, SERVER_PORT).map_err(|source| port_error(link, SERVER_PORT, source))?;
            let spare = |port, lost: &'static str| {
                let said = |error: &io::Error| {
                    tracing::warn!(interface = %link.name, %error, "UDP port {port} is taken: {lost}");
                };
                socket(link, port).inspect_err(said).ok()
            };
            let client = spare(CLIENT_PORT, "other DHCP servers are noticed only by their clients");
            let pxe = match socket(link, PXE_PORT) {
                Ok(socket) => Some(socket),
                Err(source) if proxy => return Err(port_error(link, PXE_PORT, source)),
                Err(_) => None,
            };
            let raw = RawSocket::open(link).inspect_err(|error| {
                tracing::info!(interface = %link.name, %error, "no packet socket: answers are broadcast, and addresses are lent without a look whether they are in use");
            });
            wires.push(Arc::new(Wire { link: link.clone(), server, client, pxe, raw: raw.ok() }));
        }
        let override_other = options.override_other;
        let machine = Machine::new(options.settings(links, getrandom::u32().map_err(BindError::Random)?));
        let (status, status_seen) = watch::channel(machine.status());
        let (set, overridden) = watch::channel(override_other);
        let settings = machine.settings();
        Ok((Self { wires, machine, status, overridden }, Handle { status: status_seen, overridden: set, settings }))
    }

    /// Answers until dropped.
    pub async fn run(mut self, services: Services) {
        let clock = MonoClock::start();
        let trace = services.trace.clone();
        let now = || Now { mono: clock.now(), wall: Some(trace.now()) };
        let (sender, mut heard) = mpsc::channel(QUEUE);
        let mut tasks = tokio::task::JoinSet::new();
        for (index, wire) in self.wires.iter().enumerate() {
            for port in [Port::Server, Port::Client, Port::Pxe] {
                tasks.spawn(read(index, Arc::clone(wire), port, sender.clone()));
            }
            tasks.spawn(read_arp(index, Arc::clone(wire), sender.clone()));
        }
        let (returned, mut others) = mpsc::channel(QUEUE);
        let (store, promises) = mpsc::channel(QUEUE);
        tasks.spawn(keep(Acting { wires: self.wires.clone(), services: services.clone() }, promises, returned));
        let acting = Acting { wires: self.wires.clone(), services: services.clone() };
        let mut nodes = services.nodes.clone();
        let snapshot = Arc::clone(&nodes.borrow_and_update());
        self.machine.handle_input(now(), Input::Nodes(snapshot));
        self.machine.handle_input(now(), Input::Leases(stored(&services.store).await));
        // A sender that is gone means: no changes any more.
        let (mut registry, mut control) = (true, true);
        loop {
            self.drain(&acting, &store).await;
            let wait = self.machine.poll_timeout().map_or(Duration::from_secs(60), |(at, _)| at.since(now().mono));
            tokio::select! {
                Some(first) = heard.recv() => {
                    self.hear(now(), &trace, &first);
                    // What waits already is cheaper now than after another turn.
                    for _ in 0..BATCH {
                        let Ok(next) = heard.try_recv() else { break };
                        self.drain(&acting, &store).await;
                        self.hear(now(), &trace, &next);
                    }
                }
                Some(records) = others.recv() => self.machine.handle_input(now(), Input::Leases(records)),
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

    fn hear(&mut self, now: Now, trace: &TraceHandle, heard: &Heard) {
        match heard {
            Heard::Packet { link, port, from, bytes } => {
                let name = self.wires.get(*link).map(|wire| wire.link.name.as_str());
                if let Some(mac) = machine_of(bytes).filter(|_| *port != Port::Client) {
                    trace.add(mac, name, Entry::Heard(bytes.clone()));
                }
                self.machine.handle_input(now, Input::Packet { link: *link, port: *port, from: *from, bytes });
            }
            Heard::Arp { link, address, by } => {
                self.machine.handle_input(now, Input::InUse { link: *link, address: *address, by: *by });
            }
        }
    }

    /// Does what one input led to. What follows a lease that is to be stored waits for that.
    async fn drain(&mut self, acting: &Acting, store: &mpsc::Sender<Promise>) {
        let mut promise: Option<Promise> = None;
        while let Some(output) = self.machine.poll_output() {
            match (output, &mut promise) {
                (Output::Store(record), promise) => {
                    let promise = promise.get_or_insert_with(Promise::default);
                    promise.records.push(record);
                }
                (output, Some(promise)) => promise.then.push(output),
                (output, None) => acting.act(output).await,
            }
        }
        if let Some(promise) = promise
            && store.try_send(promise).is_err()
        {
            tracing::warn!("leases are not stored as fast as machines ask for them; they will ask again");
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

fn port_error(link: &Link, port: u16, source: io::Error) -> BindError {
    BindError::Port { interface: link.name.clone(), port, source }
}

#[cfg(test)]
impl Handle {
    /// A handle of no server, which says this of it.
    pub(crate) fn saying(status: Status) -> Self {
        let settings = Arc::new(Settings::default());
        Self { status: watch::Sender::new(status).subscribe(), overridden: watch::Sender::new(false), settings }
    }
}
