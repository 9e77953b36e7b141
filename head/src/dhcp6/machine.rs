//! The server, pure: packets in, packets and events out.
//!
//! Each known node has one address, that of the registry; there is no pool, and nothing that a restart could lose.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use dhcproto::v6::{DhcpOption, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode, UnknownOption};
use ipnet::Ipv6Net;
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::Mono;
use wulfpack_shared::wire::Phase;

use super::packet::{Request, server_duid};
use crate::boot::{BootFile, Client, Nbps};
use crate::fleet::BootEvent;
use crate::registry::{Node, Snapshot};

/// Ports (RFC 8415, section 7.2).
pub(super) const SERVER_PORT: u16 = 547;
const CLIENT_PORT: u16 = 546;
/// Bootfile URL (RFC 5970, section 3.1).
const BOOTFILE_URL: u16 = 59;
/// Vendor class (RFC 8415, section 21.16) of HTTP boot: EDK2's enterprise number 343, and one text with its length. The library
/// counts texts where their bytes have to be counted (dhcproto 0.15), so that these are written by hand.
const HTTP_CLASS: &[u8] = b"\0\0\x01\x57\0\x0aHTTPClient";
/// A machine that comes back as iPXE this often within that time after it was given a boot program gets the script instead.
const LOOP_COUNT: u8 = 2;
const LOOP_TIME: Duration = Duration::from_secs(5 * 60);

/// An interface as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, as a scope.
    pub index: u32,
    /// Its hardware address.
    pub mac: Mac,
    /// Its addresses with their networks; those of the link alone are not among them.
    pub networks: Vec<Ipv6Net>,
}

/// What the server needs to know beside the nodes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Interfaces that it serves.
    pub links: Vec<Link>,
    /// Port of the HTTP boot service.
    pub http_port: u16,
    /// How long an address is lent.
    pub lease: Duration,
    /// Name servers for clients.
    pub dns: Vec<Ipv6Addr>,
    /// Network boot programs.
    pub nbps: Nbps,
}

/// What happens to the server.
#[derive(Debug)]
pub enum Input<'a> {
    /// A packet came in.
    Packet {
        /// Index of the interface in [`Settings::links`].
        link: usize,
        /// Who sent it.
        from: SocketAddrV6,
        /// The UDP payload.
        bytes: &'a [u8],
    },
    /// The registry has changed.
    Nodes(Arc<Snapshot>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a packet.
    Send {
        /// Index of the interface in [`Settings::links`].
        link: usize,
        /// Where to.
        to: SocketAddrV6,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
    /// An exchange gave this address to this machine.
    Given {
        /// The machine.
        mac: Mac,
        /// Its address.
        address: Ipv6Addr,
        /// A boot loader asked for it, and not an operating system.
        boots: bool,
    },
    /// For the fleet.
    Event(BootEvent),
}

/// What was not answered, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that are no DHCPv6 messages.
    pub malformed: u64,
    /// Messages of machines that are not in the registry.
    pub unknown: u64,
    /// Messages of known machines that have no IPv6 address in the network they asked from.
    pub misplaced: u64,
}

/// The server.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    duid: Vec<u8>,
    nodes: Arc<Snapshot>,
    handed: BTreeMap<Mac, (u8, Mono)>,
    counters: Counters,
    output: VecDeque<Output>,
}

/// Where a message came from and what its node has there.
struct Place<'a> {
    link: usize,
    to: SocketAddrV6,
    mac: Mac,
    node: &'a Node,
    address: Ipv6Addr,
    /// Our address there.
    server: Ipv6Addr,
}

impl Machine {
    /// A server that knows no node yet.
    pub fn new(settings: Settings) -> Self {
        let duid = server_duid(settings.links.first().map_or(Mac([0; 6]), |link| link.mac));
        Self {
            settings,
            duid,
            nodes: Arc::default(),
            handed: BTreeMap::new(),
            counters: Counters::default(),
            output: VecDeque::new(),
        }
    }

    /// Takes one input; drain [`Self::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Mono, input: Input<'_>) {
        match input {
            Input::Packet { link, from, bytes } => match Request::parse(*from.ip(), bytes) {
                Ok(request) => self.request(now, link, from, &request),
                Err(error) => {
                    self.counters.malformed += 1;
                    tracing::debug!(%from, %error, "packet ignored");
                }
            },
            Input::Nodes(nodes) => {
                self.handed.retain(|mac, (_, at)| nodes.by_mac(*mac).is_some() && now.since(*at) < LOOP_TIME);
                self.nodes = nodes;
            }
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// What was not answered.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn request(&mut self, now: Mono, link: usize, from: SocketAddrV6, request: &Request) {
        // Each message but one names its sender, and those that a client sends to one server name that one (section 16).
        if request.server().is_some_and(|server| server != self.duid) {
            return;
        }
        let nodes = Arc::clone(&self.nodes);
        let Some((mac, node)) = request.mac.and_then(|mac| Some((mac, nodes.by_mac(mac)?))) else {
            self.counters.unknown += 1;
            tracing::debug!(mac = ?request.mac, "DHCPv6 message of an unknown machine ignored");
            return;
        };
        let Some(place) = self.place(link, from, request, mac, node) else {
            self.counters.misplaced += 1;
            tracing::debug!(node = %node.name, %mac, "DHCPv6 message not answered: the node has no IPv6 address in the network it asks from; set `ipaddr6` and `prefixlen6` of this interface");
            return;
        };
        match request.kind {
            MessageType::Solicit if request.rapid() => self.lend(now, &place, request, MessageType::Reply),
            MessageType::Solicit => self.lend(now, &place, request, MessageType::Advertise),
            MessageType::Request | MessageType::Renew | MessageType::Rebind | MessageType::InformationRequest => {
                self.lend(now, &place, request, MessageType::Reply);
            }
            MessageType::Confirm => {
                let right = request.association().is_none_or(|(_, asked)| asked.is_none_or(|ip| ip == place.address));
                let status = if right { Status::Success } else { Status::NotOnLink };
                self.tell(&place, request, status, "");
            }
            MessageType::Release => self.tell(&place, request, Status::Success, "released"),
            MessageType::Decline => {
                tracing::warn!(node = %place.node.name, %mac, address = %place.address, "the node found its address in use by another machine");
                self.tell(&place, request, Status::Success, "noted");
            }
            _ => {}
        }
    }

    fn place<'a>(
        &self,
        link: usize,
        from: SocketAddrV6,
        request: &Request,
        mac: Mac,
        node: &'a Node,
    ) -> Option<Place<'a>> {
        let interface = node.interface(mac)?;
        let Some(IpAddr::V6(address)) = interface.ip6 else { return None };
        let networks = &self.settings.links.get(link)?.networks;
        let own = networks.iter().find(|net| net.contains(&address));
        // Behind a relay the address has to lie in the network that the relay names.
        let remote = request.link.is_some_and(|link| {
            Ipv6Net::new(address, interface.prefix6.unwrap_or(64)).is_ok_and(|net| net.contains(&link))
        });
        let server = own.or_else(|| networks.first().filter(|_| remote))?.addr();
        let port = if request.relayed() { SERVER_PORT } else { CLIENT_PORT };
        let to = SocketAddrV6::new(*from.ip(), port, 0, from.scope_id());
        Some(Place { link, to, mac, node, address, server })
    }

    fn reply(&self, request: &Request, kind: MessageType) -> Option<Message> {
        let mut message = Message::new_with_id(kind, request.message.xid());
        let options = message.opts_mut();
        options.insert(DhcpOption::ServerId(self.duid.clone()));
        match request.duid() {
            Some(duid) => options.insert(DhcpOption::ClientId(duid.to_vec())),
            None if request.kind == MessageType::InformationRequest => {}
            None => return None,
        }
        Some(message)
    }

    fn tell(&mut self, place: &Place<'_>, request: &Request, status: Status, text: &str) {
        let Some(mut message) = self.reply(request, MessageType::Reply) else { return };
        message.opts_mut().insert(DhcpOption::StatusCode(StatusCode { status, msg: text.to_owned() }));
        self.send(place, request, &message);
    }

    fn lend(&mut self, now: Mono, place: &Place<'_>, request: &Request, kind: MessageType) {
        let client = request.client();
        let Some(mut message) = self.reply(request, kind) else { return };
        let options = message.opts_mut();
        if kind == MessageType::Reply && request.kind == MessageType::Solicit {
            options.insert(DhcpOption::RapidCommit);
        }
        let seconds = u32::try_from(self.settings.lease.as_secs()).unwrap_or(u32::MAX);
        let association = request.association().filter(|_| request.kind != MessageType::InformationRequest);
        if let Some((id, _)) = association {
            let address = IAAddr {
                addr: place.address,
                preferred_life: seconds,
                valid_life: seconds,
                opts: dhcproto::v6::DhcpOptions::new(),
            };
            let opts = std::iter::once(DhcpOption::IAAddr(address)).collect();
            options.insert(DhcpOption::IANA(IANA { id, t1: seconds / 2, t2: seconds / 5 * 4, opts }));
        }
        if !self.settings.dns.is_empty() {
            options.insert(DhcpOption::DomainNameServers(self.settings.dns.clone()));
        }
        let (boot_file, detail) = self.boot_file(now, place, client);
        if let Some(url) = boot_file {
            let url = UnknownOption::new(OptionCode::from(BOOTFILE_URL), url.into_bytes());
            options.insert(DhcpOption::Unknown(url));
        }
        if matches!(client, Client::HttpBoot(_)) {
            // UEFI HTTP boot takes no other (EDK2, HttpBootDhcp6.c).
            options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::VendorClass, HTTP_CLASS.to_vec())));
        }
        let gives = kind == MessageType::Reply && association.is_some();
        if gives {
            // First: the client may ask for its token as soon as it has the answer.
            let (mac, address) = (place.mac, place.address);
            self.output.push_back(Output::Given { mac, address, boots: client.boots() });
        }
        self.send(place, request, &message);
        if gives && client.boots() {
            self.output.push_back(Output::Event(BootEvent {
                mac: place.mac,
                node: Some(place.node.name.clone()),
                phase: Phase::Dhcp,
                ip: Some(place.address.into()),
                detail: format!("{} for {client}: {detail}", place.address),
                bytes: 0,
            }));
            self.remember(now, place.mac, client);
        }
    }

    /// The URL of what the client is to load, and what it is for people.
    fn boot_file(&self, now: Mono, place: &Place<'_>, client: Client) -> (Option<String>, String) {
        let round = self.handed.get(&place.mac);
        let given = round.is_some_and(|(count, at)| *count >= LOOP_COUNT && now.since(*at) < LOOP_TIME);
        let http = format!("http://[{}]:{}", place.server, self.settings.http_port);
        match self.settings.nbps.boot_file(client, place.mac, &place.node.boot, given) {
            BootFile::Script => {
                (Some(format!("{http}/boot/{}/script.ipxe", place.mac.dashed())), "boot script".to_owned())
            }
            BootFile::Nbp(name) => (Some(format!("tftp://[{}]/{name}", place.server)), name),
            BootFile::Http(path) => (Some(format!("{http}{path}")), path),
            BootFile::None(why) => (None, why.to_owned()),
        }
    }

    fn remember(&mut self, now: Mono, mac: Mac, client: Client) {
        let loads = matches!(client, Client::ForeignIpxe { able: false, .. } | Client::Pxe(_) | Client::HttpBoot(_));
        if loads {
            let (count, at) = self.handed.entry(mac).or_insert((0, now));
            let again = now.since(*at) < LOOP_TIME;
            *count = if again { count.saturating_add(1) } else { 1 };
            *at = now;
        }
    }

    fn send(&mut self, place: &Place<'_>, request: &Request, message: &Message) {
        match request.answer(message) {
            Some(bytes) => self.output.push_back(Output::Send { link: place.link, to: place.to, bytes }),
            None => tracing::warn!(node = %place.node.name, "DHCPv6 answer is too long"),
        }
    }
}
