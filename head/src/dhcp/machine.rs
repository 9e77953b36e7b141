//! The server, pure: packets and time in, packets and events out.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::{Mono, Now};
use wulfpack_shared::wire::Phase;

use super::interfaces::Link;
use super::packet::{Request, code};
use super::reply::{Lease, nak, probe};
use super::rivals::{Rivals, State};
use crate::boot::{BootFile, Client, Nbps};
use crate::fleet::BootEvent;
use crate::registry::{Interface, Node, Snapshot};

/// A machine that comes back as iPXE this often within [`LOOP_TIME`] after it was given a boot program gets the script instead.
const LOOP_COUNT: u8 = 2;
const LOOP_TIME: Duration = Duration::from_secs(5 * 60);
/// Sub-options of a relay's option 82 (RFC 5107).
const SERVER_ID_OVERRIDE: u8 = 11;

/// What the server needs to know beside the nodes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Interfaces that it serves.
    pub links: Vec<Link>,
    /// Port of the HTTP boot service, at the same address.
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
    /// A random number that tells this server's probes from those of others.
    pub seed: u32,
}

/// What happens to the server.
#[derive(Debug)]
pub enum Input<'a> {
    /// A packet came in, to the server's port or, from other servers, to the client's port.
    Packet {
        /// Index of the interface in [`Settings::links`].
        link: usize,
        /// The UDP payload.
        bytes: &'a [u8],
    },
    /// The registry has changed.
    Nodes(Arc<Snapshot>),
    /// The administrator wants answers beside another server, or no longer.
    Override(bool),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a packet.
    Send {
        /// Index of the interface in [`Settings::links`].
        link: usize,
        /// Address to send from.
        source: Ipv4Addr,
        /// Port to send from.
        source_port: u16,
        /// Where to.
        to: SocketAddrV4,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
    /// An exchange gave this address to this machine.
    Given {
        /// The machine.
        mac: Mac,
        /// Its address.
        address: Ipv4Addr,
        /// A boot loader asked for it, and not an operating system.
        boots: bool,
    },
    /// The machine gave its address back, or says that another has it.
    Released {
        /// The machine.
        mac: Mac,
    },
    /// For the fleet.
    Event(BootEvent),
}

/// What was not answered, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets that are no DHCP requests.
    pub malformed: u64,
    /// Requests of machines that are not in the registry.
    pub unknown: u64,
    /// Requests of known machines that have no address in the network they asked from.
    pub misplaced: u64,
    /// Requests that were not answered because of another server.
    pub withheld: u64,
    /// Addresses that a machine found in use.
    pub declined: u64,
}

/// State of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it answers.
    pub state: State,
    /// What it did not answer.
    pub counters: Counters,
}

/// Boot programs that a machine was given lately.
#[derive(Clone, Copy, Debug)]
struct Handed {
    count: u8,
    xid: u32,
    at: Mono,
}

/// The server.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    nodes: Arc<Snapshot>,
    rivals: Rivals,
    handed: BTreeMap<Mac, Handed>,
    counters: Counters,
    output: VecDeque<Output>,
}

/// Where a request came from and what its node has there.
struct Place<'a> {
    link: usize,
    node: &'a Node,
    interface: &'a Interface,
    address: Ipv4Net,
    /// Our address on that interface.
    server: Ipv4Addr,
    server_id: Ipv4Addr,
}

impl Machine {
    /// A server that knows no node yet.
    pub fn new(settings: Settings) -> Self {
        let links = settings.links.iter().flat_map(|link| link.addresses.iter().map(Ipv4Net::addr));
        let own = links.chain(settings.own_heads.iter().copied()).collect();
        let rivals = Rivals::new(own, settings.override_other);
        Self {
            settings,
            nodes: Arc::default(),
            rivals,
            handed: BTreeMap::new(),
            counters: Counters::default(),
            output: VecDeque::new(),
        }
    }

    /// Takes one input; drain [`Self::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Packet { link, bytes } => match Request::parse(bytes) {
                Ok(request) if request.from_server => self.answer_of_other(now.mono, link, &request),
                Ok(request) => self.request(now.mono, link, &request),
                Err(error) => {
                    self.counters.malformed += 1;
                    tracing::debug!(%error, "packet ignored");
                }
            },
            Input::Nodes(nodes) => {
                self.handed.retain(|mac, _| nodes.by_mac(*mac).is_some());
                self.nodes = nodes;
            }
            Input::Override(overridden) => self.rivals.set_override(overridden),
            Input::Tick => {
                self.handed.retain(|_, handed| now.mono.since(handed.at) < LOOP_TIME);
                if self.rivals.probe_due(now.mono) {
                    self.probe();
                }
            }
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When to call with [`Input::Tick`], and why.
    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        Some((self.rivals.next_probe(), "look for other DHCP servers"))
    }

    /// Whether it answers, and what it did not answer.
    pub fn status(&self) -> Status {
        Status { state: self.rivals.state(), counters: self.counters }
    }

    fn probe(&mut self) {
        for (index, link) in self.settings.links.iter().enumerate() {
            let Some(source) = link.addresses.first().map(Ipv4Net::addr) else { continue };
            let Some(bytes) = probe(link.mac, self.settings.seed) else { continue };
            let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
            self.output.push_back(Output::Send { link: index, source, source_port: CLIENT_PORT, to, bytes });
        }
    }

    /// An OFFER to our own probe.
    fn answer_of_other(&mut self, now: Mono, link: usize, reply: &Request) {
        let ours = self.settings.links.get(link).is_some_and(|link| link.mac == reply.mac);
        let offer = ours && reply.xid == self.settings.seed && reply.kind == MessageType::Offer;
        if let Some(server) = reply.address(code::SERVER_ID).filter(|_| offer) {
            self.rivals.sign_of(now, server);
        }
    }

    fn request(&mut self, now: Mono, link: usize, request: &Request) {
        if self.chose_another(now, request) {
            return;
        }
        let nodes = Arc::clone(&self.nodes);
        let Some(node) = nodes.by_mac(request.mac) else {
            self.counters.unknown += 1;
            tracing::debug!(mac = %request.mac, "request of an unknown machine ignored");
            return;
        };
        let Some(place) = self.place(link, request, node) else {
            self.counters.misplaced += 1;
            tracing::warn!(node = %node.name, mac = %request.mac, "DHCP request not answered: the node has no IPv4 address in the network it asks from; set `ip` and `netmask` of this interface");
            return;
        };
        if self.rivals.withheld() {
            self.counters.withheld += 1;
            return;
        }
        let theirs = request.wanted();
        let right = theirs.is_none_or(|address| address == place.address.addr());
        match request.kind {
            MessageType::Discover => self.lend(now, &place, request, MessageType::Offer),
            MessageType::Inform => self.lend(now, &place, request, MessageType::Ack),
            MessageType::Request if theirs.is_some() && right => self.lend(now, &place, request, MessageType::Ack),
            MessageType::Request => self.refuse(&place, request),
            MessageType::Release if right => self.output.push_back(Output::Released { mac: request.mac }),
            MessageType::Decline if right => {
                self.counters.declined += 1;
                tracing::warn!(node = %node.name, mac = %request.mac, address = %place.address.addr(), "the node found its address in use by another machine");
                self.output.push_back(Output::Released { mac: request.mac });
            }
            _ => {}
        }
    }

    /// Whether the request is for another server; one that is broadcast tells us of that server.
    fn chose_another(&mut self, now: Mono, request: &Request) -> bool {
        let Some(server) = request.address(code::SERVER_ID) else { return false };
        if self.rivals.is_own(server) || request.relay_option(SERVER_ID_OVERRIDE) == Some(&server.octets()) {
            return false;
        }
        let broadcast = request.giaddr.is_unspecified() && request.ciaddr.is_unspecified();
        if request.kind == MessageType::Request && broadcast {
            self.rivals.sign_of(now, server);
        }
        true
    }

    fn place<'a>(&self, link: usize, request: &Request, node: &'a Node) -> Option<Place<'a>> {
        let interface = node.interface(request.mac)?;
        let Some(IpAddr::V4(ip)) = interface.ip else { return None };
        let addresses = &self.settings.links.get(link)?.addresses;
        let own = addresses.iter().find(|net| net.contains(&ip));
        // Through a relay, or renewing through a router.
        let remote = !request.giaddr.is_unspecified() || request.ciaddr == ip;
        let server = own.or_else(|| addresses.first().filter(|_| remote))?.addr();
        let prefix = interface.prefix.or_else(|| own.map(Ipv4Net::prefix_len))?;
        let address = Ipv4Net::new(ip, prefix).ok()?;
        let overridden = request.relay_option(SERVER_ID_OVERRIDE).and_then(|value| <[u8; 4]>::try_from(value).ok());
        let server_id = overridden.map_or(server, Ipv4Addr::from);
        Some(Place { link, node, interface, address, server, server_id })
    }

    fn lend(&mut self, now: Mono, place: &Place<'_>, request: &Request, kind: MessageType) {
        let client = Client::of(request);
        let boot_file =
            self.settings.nbps.boot_file(client, request.mac, &place.node.boot, self.goes_round(now, request.mac));
        let base = format!("http://{}:{}", place.server, self.settings.http_port);
        let url = match &boot_file {
            BootFile::Http(path) => format!("{base}{path}"),
            _ => format!("{base}/boot/{}/script.ipxe", request.mac.dashed()),
        };
        let (file, detail) = match &boot_file {
            BootFile::Script => (Some(url.as_str()), "boot script"),
            BootFile::Nbp(name) => (Some(name.as_str()), name.as_str()),
            BootFile::Http(path) => (Some(url.as_str()), path.as_str()),
            BootFile::None(why) => (None, *why),
        };
        let gateway = place.interface.gateway.and_then(|gateway| match gateway {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        });
        // Firmware that believes in a large MTU which its driver cannot do never loads a file.
        let mtu = place.interface.mtu.filter(|_| !client.boots() && request.asks_for(26));
        let lease = Lease {
            kind,
            address: place.address,
            server: place.server,
            server_id: place.server_id,
            lease: self.settings.lease,
            router: gateway,
            hostname: place.node.name.as_str(),
            mtu,
            domain: self.settings.domain.as_deref(),
            dns: &self.settings.dns,
            boot_file: file,
            class: matches!(boot_file, BootFile::Http(_)).then_some("HTTPClient"),
            ipxe: matches!(client, Client::OurIpxe | Client::ForeignIpxe { .. }),
        };
        let Some(bytes) = lease.packet(request) else {
            tracing::warn!(node = %place.node.name, mac = %request.mac, "DHCP answer is longer than the client accepts");
            return;
        };
        let (address, len) = (place.address.addr(), bytes.len() as u64);
        if request.kind == MessageType::Request {
            // First: the client may ask for its token as soon as it has the answer.
            self.output.push_back(Output::Given { mac: request.mac, address, boots: client.boots() });
        }
        self.send(place, request, bytes, false);
        if request.kind == MessageType::Request {
            if matches!(boot_file, BootFile::Nbp(_) | BootFile::Http(_)) {
                self.remember(now, request);
            }
            if client.boots() {
                self.output.push_back(Output::Event(BootEvent {
                    mac: request.mac,
                    node: Some(place.node.name.clone()),
                    phase: Phase::Dhcp,
                    ip: Some(address.into()),
                    detail: format!("{address} for {client}: {detail}"),
                    bytes: len,
                }));
            }
        }
    }

    fn refuse(&mut self, place: &Place<'_>, request: &Request) {
        let why = format!("{} has the address {}", place.node.name, place.address.addr());
        if let Some(bytes) = nak(request, place.server_id, &why) {
            self.send(place, request, bytes, true);
        }
    }

    /// RFC 2131, section 4.1. Clients without an address get a broadcast whether they ask for one or not: a unicast to an address
    /// that nobody answers ARP for needs a raw socket, and every client must take a broadcast.
    fn send(&mut self, place: &Place<'_>, request: &Request, bytes: Vec<u8>, nak: bool) {
        let to = if !request.giaddr.is_unspecified() {
            SocketAddrV4::new(request.giaddr, SERVER_PORT)
        } else if !request.ciaddr.is_unspecified() && !nak {
            SocketAddrV4::new(request.ciaddr, CLIENT_PORT)
        } else {
            SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
        };
        self.output.push_back(Output::Send {
            link: place.link,
            source: place.server,
            source_port: SERVER_PORT,
            to,
            bytes,
        });
    }

    fn goes_round(&self, now: Mono, mac: Mac) -> bool {
        self.handed.get(&mac).is_some_and(|handed| handed.count >= LOOP_COUNT && now.since(handed.at) < LOOP_TIME)
    }

    fn remember(&mut self, now: Mono, request: &Request) {
        let fresh = Handed { count: 0, xid: request.xid.wrapping_add(1), at: now };
        let handed = self.handed.entry(request.mac).or_insert(fresh);
        if now.since(handed.at) >= LOOP_TIME {
            *handed = fresh;
        }
        // A repeated request of one exchange is not another round.
        if handed.xid != request.xid {
            *handed = Handed { count: handed.count.saturating_add(1), xid: request.xid, at: now };
        }
    }
}
