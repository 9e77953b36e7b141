//! What is to be done about a request: a pure function of settings, registry, other servers and the request itself. The machine
//! acts on it, and [`super::explain()`] tells it to a person.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::MessageType;
use ipnet::Ipv4Net;
use wulfpack_shared::id::{Mac, NodeName};

use super::machine::Settings;
use super::packet::{Request, code};
use super::policy::{Device, Subnet};
use super::rivals::{Rivals, State};
use crate::boot::Client;
use crate::registry::{Interface, Node, Snapshot};

/// Sub-options of a relay's option 82: link selection (RFC 3527), server identifier override (RFC 5107).
const LINK_SELECTION: u8 = 5;
const SERVER_ID_OVERRIDE: u8 = 11;

/// What a judgement rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a, 'r> {
    pub(super) settings: &'a Settings,
    pub(super) nodes: &'a Snapshot,
    pub(super) uuids: &'a Uuids,
    pub(super) rivals: &'r Rivals,
}

/// Nodes that the registry knows by the UUID of their machine: tag `uuid`.
#[derive(Clone, Debug, Default)]
pub(super) struct Uuids(BTreeMap<[u8; 16], NodeName>);

impl Uuids {
    pub(super) fn of(nodes: &Snapshot) -> Self {
        let uuid = |text: &String| <[u8; 16]>::try_from(crate::config::hex(text)?).ok();
        Self(nodes.nodes().filter_map(|node| Some((uuid(node.tags.get("uuid")?)?, node.name.clone()))).collect())
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    /// A node of the registry, by one of its interfaces.
    Node(&'a Node, &'a Interface),
    /// A device with a reservation.
    Device(&'a Device),
    /// Nobody we know.
    Unknown,
}

impl Who<'_> {
    /// Its name.
    pub(super) fn name(&self) -> Option<&NodeName> {
        match self {
            Self::Node(node, _) => Some(&node.name),
            Self::Device(device) => Some(&device.name),
            Self::Unknown => None,
        }
    }

    /// The node that it is.
    pub(super) fn node(&self) -> Option<&NodeName> {
        if let Self::Node(node, _) = self { Some(&node.name) } else { None }
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// Index of the interface.
    pub(super) link: usize,
    /// Our address there.
    pub(super) server: Ipv4Addr,
    /// What we call ourselves in the answer.
    pub(super) server_id: Ipv4Addr,
    /// The network's settings, if it has any, and their index.
    pub(super) subnet: Option<(usize, &'a Subnet)>,
    /// An address of the network that the request came from, where a relay told it.
    pub(super) selected: Option<Ipv4Addr>,
}

/// What a client is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) who: Who<'a>,
    /// The MAC address by which the other boot services know it.
    pub(super) identity: Mac,
    pub(super) address: Ipv4Net,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) lease: Duration,
}

/// Why a request gets no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It chose another server.
    ChoseAnother(Ipv4Addr),
    /// Nobody we know, and unknown machines get no answer here.
    Unknown,
    /// A node without an address in this network.
    Misplaced(NodeName),
    /// Another server is there.
    Withheld(State),
    /// Another server gives addresses, and this is about an address.
    NotOurs,
    /// A message that needs no answer here.
    Nothing,
    /// The interface has no address.
    NoAddress,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChoseAnother(server) => write!(f, "it chose the server {server}"),
            Self::Unknown => f.write_str(
                "nobody has this MAC address, and this network has no range for unknown machines (`dhcp: subnets: … range`)",
            ),
            Self::Misplaced(name) => {
                write!(f, "{name} has no IPv4 address in the network it asks from; set `ipaddr` and `netmask` of this interface")
            }
            Self::Withheld(state) => write!(f, "{state}"),
            Self::NotOurs => f.write_str("another DHCP server gives addresses here"),
            Self::Nothing => f.write_str("such a message gets no answer"),
            Self::NoAddress => f.write_str("the interface has no IPv4 address"),
        }
    }
}

/// The judgement.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    /// No answer.
    Silent(Silence),
    /// An OFFER or ACK of a computed address.
    Lend(Place<'a>, MessageType),
    /// Something about an address of the network's range.
    Range(Origin<'a>),
    /// The address that it wants is not its own.
    Refuse(Origin<'a>, String),
    /// It gives its address back.
    Release(Place<'a>),
    /// Its address is used by somebody else.
    Decline(Place<'a>),
    /// Another server gives the address; this is what to boot.
    Proxy(Origin<'a>, Who<'a>, Mac, MessageType),
    /// It chose the server that gives addresses here, and this address.
    Chose(Who<'a>, Mac, Option<Ipv4Addr>),
}

impl<'a> View<'a, '_> {
    /// Who sent this.
    pub(super) fn who(&self, request: &Request) -> (Who<'a>, Mac) {
        if let Some(node) = self.nodes.by_mac(request.mac)
            && let Some(interface) = node.interface(request.mac)
        {
            return (Who::Node(node, interface), request.mac);
        }
        if let Some(device) = self.settings.policy.device(request) {
            return (Who::Device(device), request.mac);
        }
        // A machine whose card was replaced is still the same machine.
        let by_uuid = request.uuid().and_then(|uuid| self.nodes.node(self.uuids.0.get(&uuid)?));
        match by_uuid.and_then(|node| node.primary().and_then(|interface| Some((node, interface, interface.mac?)))) {
            Some((node, interface, mac)) => (Who::Node(node, interface), mac),
            None => (Who::Unknown, request.mac),
        }
    }

    /// Where it came from.
    pub(super) fn origin(&self, link: usize, request: &Request) -> Option<Origin<'a>> {
        let addresses = &self.settings.links.get(link)?.addresses;
        let policy = &self.settings.policy;
        let option = |code| request.relay_option(code).and_then(|value| <[u8; 4]>::try_from(value).ok());
        let relayed = Some(request.giaddr).filter(|relay| !relay.is_unspecified());
        let selected = relayed.map(|relay| option(LINK_SELECTION).map_or(relay, Ipv4Addr::from));
        let own = selected.and_then(|address| addresses.iter().find(|net| net.contains(&address)));
        let server = own.or_else(|| addresses.first())?.addr();
        let here = || {
            let here = addresses.iter().filter_map(|net| policy.subnet_of(net.addr()));
            here.max_by_key(|(index, subnet)| (subnet.range.is_some() || subnet.discover, usize::MAX - index))
        };
        let subnet = match selected {
            Some(address) => policy.subnet_behind(address),
            None => here(),
        };
        let server_id = option(SERVER_ID_OVERRIDE).map_or(server, Ipv4Addr::from);
        Some(Origin { link, server, server_id, subnet, selected })
    }

    /// The judgement. `pxe`: it came to port 4011.
    pub(super) fn judge(&self, link: usize, request: &Request, pxe: bool) -> Verdict<'a> {
        let Some(origin) = self.origin(link, request) else { return Verdict::Silent(Silence::NoAddress) };
        let state = self.rivals.on(link);
        let (who, identity) = self.who(request);
        if pxe {
            return self.proxy(origin, who, identity, request, MessageType::Ack);
        }
        let chosen = request.address(code::SERVER_ID).filter(|server| {
            !self.rivals.is_own(*server) && request.relay_option(SERVER_ID_OVERRIDE) != Some(&server.octets())
        });
        match (state, chosen) {
            (State::Proxy { .. }, Some(_)) if request.kind == MessageType::Request => {
                return Verdict::Chose(who, identity, request.wanted());
            }
            (_, Some(server)) => return Verdict::Silent(Silence::ChoseAnother(server)),
            (State::Proxy { .. }, None) if request.kind == MessageType::Discover => {
                return self.proxy(origin, who, identity, request, MessageType::Offer);
            }
            // A REQUEST answered here would be a second answer to it (EDK2 declines both).
            (State::Proxy { .. }, None) => return Verdict::Silent(Silence::NotOurs),
            (State::Serving | State::Looking | State::OtherServer { .. }, None) => {}
        }
        let answers = state.answers();
        let verdict = self.full(origin, who, identity, request);
        match verdict {
            Verdict::Silent(_) => verdict,
            _ if !answers => Verdict::Silent(Silence::Withheld(state)),
            _ => verdict,
        }
    }

    fn proxy(
        &self,
        origin: Origin<'a>,
        who: Who<'a>,
        identity: Mac,
        request: &Request,
        kind: MessageType,
    ) -> Verdict<'a> {
        if !Client::of(request).boots() {
            return Verdict::Silent(Silence::NotOurs);
        }
        let discovers = origin.subnet.is_some_and(|(_, subnet)| subnet.discover);
        match who {
            Who::Unknown if !discovers => Verdict::Silent(Silence::Unknown),
            _ => Verdict::Proxy(origin, who, identity, kind),
        }
    }

    fn full(&self, origin: Origin<'a>, who: Who<'a>, identity: Mac, request: &Request) -> Verdict<'a> {
        let place = match who {
            Who::Node(node, interface) => {
                let ip = if let Some(IpAddr::V4(ip)) = interface.ip { Some(ip) } else { None };
                let gateway = if let Some(IpAddr::V4(gateway)) = interface.gateway { Some(gateway) } else { None };
                let place =
                    ip.and_then(|ip| self.place(origin, who, identity, request, (ip, interface.prefix, gateway)));
                match place {
                    Some(place) => place,
                    None => return Verdict::Silent(Silence::Misplaced(node.name.clone())),
                }
            }
            Who::Device(device) => {
                let settings = &device.settings;
                match self.place(origin, who, identity, request, (settings.ipaddr, None, settings.gateway)) {
                    Some(place) => place,
                    None => return Verdict::Silent(Silence::Misplaced(device.name.clone())),
                }
            }
            Who::Unknown => {
                let range = origin.subnet.is_some_and(|(_, subnet)| subnet.range.is_some());
                return if range { Verdict::Range(origin) } else { Verdict::Silent(Silence::Unknown) };
            }
        };
        let wanted = request.wanted();
        let right = wanted.is_none_or(|address| address == place.address.addr());
        match request.kind {
            MessageType::Discover => Verdict::Lend(place, MessageType::Offer),
            MessageType::Inform => Verdict::Lend(place, MessageType::Ack),
            MessageType::Request if wanted.is_some() && right => Verdict::Lend(place, MessageType::Ack),
            MessageType::Request => {
                let name = who.name().map_or("", NodeName::as_str);
                Verdict::Refuse(origin, format!("{name} has the address {}", place.address.addr()))
            }
            MessageType::Release if right => Verdict::Release(place),
            MessageType::Decline if right => Verdict::Decline(place),
            _ => Verdict::Silent(Silence::Nothing),
        }
    }

    /// The place of an address in the network that the request came from.
    fn place(
        &self,
        origin: Origin<'a>,
        who: Who<'a>,
        identity: Mac,
        request: &Request,
        (ip, prefix, gateway): (Ipv4Addr, Option<u8>, Option<Ipv4Addr>),
    ) -> Option<Place<'a>> {
        let addresses = &self.settings.links.get(origin.link)?.addresses;
        let policy = &self.settings.policy;
        let own = addresses.iter().find(|net| net.contains(&ip));
        let subnet = policy.subnet_of(ip);
        let prefix = prefix.or_else(|| own.map(Ipv4Net::prefix_len)).or_else(|| Some(subnet?.1.net.prefix_len()))?;
        let address = Ipv4Net::new(ip, prefix).ok()?;
        let there = match origin.selected {
            Some(selected) => {
                address.contains(&selected) || origin.subnet.is_some_and(|(_, subnet)| subnet.net.contains(&ip))
            }
            // Renewing, it may come through a router.
            None => own.is_some() || request.ciaddr == ip,
        };
        let server = own.filter(|_| origin.selected.is_none()).map_or(origin.server, Ipv4Net::addr);
        let server_id = if origin.server_id == origin.server { server } else { origin.server_id };
        let origin = Origin { server, server_id, subnet, ..origin };
        let router = gateway.or_else(|| subnet.and_then(|(_, subnet)| subnet.gateway));
        let lease = self.settings.lease;
        there.then_some(Place { origin, who, identity, address, router, lease })
    }

    /// The place of an address of the network's range.
    pub(super) fn range_place(&self, origin: Origin<'a>, mac: Mac, ip: Ipv4Addr) -> Option<Place<'a>> {
        let (_, subnet) = origin.subnet?;
        let address = Ipv4Net::new(ip, subnet.net.prefix_len()).ok()?;
        Some(Place { origin, who: Who::Unknown, identity: mac, address, router: subnet.gateway, lease: subnet.lease })
    }

    /// Whether an address belongs to somebody by configuration.
    pub(super) fn is_taken(&self, ip: Ipv4Addr) -> bool {
        let links = || self.settings.links.iter().flat_map(|link| &link.addresses);
        let subnet = self.settings.policy.subnet_of(ip).map(|(_, subnet)| subnet);
        self.nodes.by_ip(ip.into()).is_some()
            || self.settings.policy.is_reserved(ip)
            || links().any(|net| net.addr() == ip)
            || self.rivals.is_own(ip)
            || subnet.is_some_and(|subnet| {
                subnet.gateway == Some(ip) || ip == subnet.net.network() || ip == subnet.net.broadcast()
            })
    }
}
