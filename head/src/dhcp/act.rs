//! What the machine does about a request once it is judged.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::{Mono, Now};
use wulfpack_shared::wire::Phase;

use super::hear::UNPRIVILEGED;
use super::judge::{Origin, Place, Silence, Verdict, Who};
use super::machine::{Handed, LOOP_COUNT, LOOP_TIME, Machine, Output, Port, Settings};
use super::options::{OptionSet, option_of_text};
use super::packet::{Request, code};
use super::reply::{Lease, ProxyOffer, nak};
use crate::boot::{BootChoice, BootFile, Client};
use crate::fleet::BootEvent;

/// An exchange that was begun this often before is answered by broadcast, whatever the client says it can take.
const REPEATS: u8 = 2;
/// PXE firmware asks here for its boot file (Intel, PXE 2.1, section 2.2).
pub(super) const PXE_PORT: u16 = 4011;
const BROADCAST_FLAG: u16 = 0x8000;

impl Machine {
    pub(super) fn request(
        &mut self,
        now: Now,
        (link, port, from): (usize, Port, SocketAddrV4),
        request: &Request,
        bytes: &[u8],
    ) {
        // The kernel lets us hear our own broadcasts: the probes for other servers.
        let ours = self.settings.links.get(link).is_some_and(|link| link.mac == request.mac);
        if port == Port::Client || (ours && request.xid == self.settings.seed) {
            return;
        }
        self.notice_server(now.mono, link, request);
        let Some(repeats) = self.pace(now.mono, request) else { return };
        // Cheap copies: what is judged must not change under the judgement.
        let (settings, nodes, uuids) = (Arc::clone(&self.settings), Arc::clone(&self.nodes), Arc::clone(&self.uuids));
        let view = self.view(&settings, &nodes, &uuids);
        let verdict = view.judge(link, request, port == Port::Pxe);
        match verdict {
            Verdict::Silent(why) => self.silent(request, why),
            Verdict::Lend(place, kind) => self.lend(now, &place, request, kind, repeats),
            Verdict::Range(origin) => self.range(now, origin, request, bytes, repeats),
            Verdict::Refuse(origin, why) => {
                self.give_up_range(now, request);
                self.refuse(origin, request, why);
            }
            Verdict::Release(place) => {
                self.note(request.mac, "it gave its address back");
                self.output.push_back(Output::Released { mac: place.identity });
            }
            Verdict::Decline(place) => self.declined(&place, request),
            Verdict::Proxy(origin, who, identity, kind) => {
                self.proxy(now.mono, origin, (who, identity), request, (kind, from))
            }
            Verdict::Chose(who, identity, address) => self.chose(who, identity, address, request),
        }
    }

    /// A request that names another server, and that everybody hears, tells of that server.
    fn notice_server(&mut self, now: Mono, link: usize, request: &Request) {
        let broadcast = request.giaddr.is_unspecified() && request.ciaddr.is_unspecified();
        if request.kind == MessageType::Request
            && broadcast
            && let Some(server) = request.address(code::SERVER_ID)
        {
            self.sign_of(now, link, server);
        }
    }

    fn silent(&mut self, request: &Request, why: Silence) {
        match &why {
            Silence::Unknown => {
                self.counters.unknown += 1;
                let client = Client::of(request);
                tracing::debug!(mac = %request.mac, "request of an unknown machine ignored");
                if client.boots() && request.kind == MessageType::Discover {
                    // Shown to administrators as a machine that asked.
                    self.output.push_back(Output::Event(BootEvent {
                        mac: request.mac,
                        node: None,
                        phase: Phase::Dhcp,
                        ip: None,
                        detail: format!("no address for {client}: {why}"),
                        bytes: 0,
                    }));
                }
            }
            Silence::Misplaced(name) => {
                self.counters.misplaced += 1;
                tracing::warn!(node = %name, mac = %request.mac, "DHCP request not answered: {why}");
            }
            Silence::Withheld(_) => self.counters.withheld += 1,
            _ => {}
        }
        self.note(request.mac, format!("no answer: {why}"));
    }

    /// OFFER or ACK of an address.
    pub(super) fn lend(&mut self, now: Now, place: &Place<'_>, request: &Request, kind: MessageType, repeats: u8) {
        let client = Client::of(request);
        let given = self.goes_round(now.mono, request.mac);
        let boot = boot_file(&self.settings, place.origin, (place.who, place.identity), client, given);
        let detail = boot.detail();
        let interface = if let Who::Node(_, interface) = place.who { Some(interface) } else { None };
        // Firmware that believes in a large MTU which its driver cannot do never loads a file.
        let mtu = interface.and_then(|interface| interface.mtu).filter(|_| !client.boots() && request.asks_for(26));
        let subnet = place.origin.subnet;
        let settings = Arc::clone(&self.settings);
        let (domain, dns) = match subnet {
            Some((_, subnet)) => (
                subnet.domain.as_deref().or(settings.domain.as_deref()),
                if subnet.dns.is_empty() { &settings.dns } else { &subnet.dns },
            ),
            None => (settings.domain.as_deref(), &settings.dns),
        };
        let host = host_options(place.who);
        let options = settings.policy.options(request, subnet.map(|(index, _)| index), host.as_ref());
        let lease = Lease {
            kind,
            address: place.address,
            server: place.origin.server,
            server_id: place.origin.server_id,
            lease: place.lease,
            router: place.router,
            hostname: place.who.name().map(|name| name.as_str()),
            mtu,
            domain,
            dns,
            boot_file: boot.name(),
            class: matches!(boot.file, BootFile::Http(_)).then_some("HTTPClient"),
            ipxe: client.is_ipxe(),
            options: &options,
        };
        let Some(bytes) = lease.packet(request) else {
            self.note(request.mac, "no answer: it is longer than the client accepts");
            tracing::warn!(mac = %request.mac, "DHCP answer is longer than the client accepts");
            return;
        };
        let (address, len) = (place.address.addr(), bytes.len() as u64);
        let acknowledged = request.kind == MessageType::Request;
        if acknowledged {
            // First: the client may ask for its token as soon as it has the answer.
            self.output.push_back(Output::Given { mac: place.identity, address, boots: client.boots() });
        }
        self.send(place.origin, request, bytes, Some(address), repeats);
        if client.boots() {
            self.note(request.mac, format!("{kind:?} of {address} for {client}: {detail}"));
        }
        if acknowledged {
            if boot.is_program() {
                self.remember(now.mono, request);
            }
            if client.boots() {
                self.output.push_back(Output::Event(BootEvent {
                    mac: place.identity,
                    node: place.who.node().cloned(),
                    phase: Phase::Dhcp,
                    ip: Some(address.into()),
                    detail: format!("{address} for {client}: {detail}"),
                    bytes: len,
                }));
            }
        }
    }

    pub(super) fn refuse(&mut self, origin: Origin<'_>, request: &Request, why: String) {
        if let Some(bytes) = nak(request, origin.server_id, &why) {
            self.note(request.mac, format!("refused: {why}"));
            self.send(origin, request, bytes, None, 0);
        }
    }

    fn declined(&mut self, place: &Place<'_>, request: &Request) {
        self.counters.declined += 1;
        let address = place.address.addr();
        let name = place.who.name().map_or("", |name| name.as_str());
        tracing::warn!(node = name, mac = %request.mac, %address, "the node found its address in use by another machine");
        self.output.push_back(Output::Alarm(format!("{name} found its address {address} in use by another machine")));
        self.note(request.mac, format!("it found {address} in use by another machine"));
        self.output.push_back(Output::Released { mac: place.identity });
    }

    /// What to boot, beside a server that gives the address.
    fn proxy(
        &mut self,
        now: Mono,
        origin: Origin<'_>,
        (who, identity): (Who<'_>, Mac),
        request: &Request,
        (kind, from): (MessageType, SocketAddrV4),
    ) {
        let client = Client::of(request);
        let given = self.goes_round(now, request.mac);
        let boot = boot_file(&self.settings, origin, (who, identity), client, given);
        let detail = boot.detail();
        let Some(file) = boot.name() else {
            return self.note(request.mac, format!("no answer for {client}: {detail}"));
        };
        let host = host_options(who);
        let options = self.settings.policy.options(request, origin.subnet.map(|(index, _)| index), host.as_ref());
        let offer = ProxyOffer {
            kind,
            server: origin.server,
            server_id: origin.server_id,
            boot_file: file,
            client,
            options: &options,
        };
        let Some(bytes) = offer.packet(request) else {
            return self.note(request.mac, "no answer: it is longer than the client accepts");
        };
        let len = bytes.len() as u64;
        let has = Some(request.ciaddr).filter(|address| !address.is_unspecified()).or(Some(*from.ip()));
        let address = has.filter(|address| !address.is_unspecified() && kind == MessageType::Ack);
        if let Some(address) = address {
            // From a port that is anybody's nothing is believed: its REQUEST to the other server told where the machine is.
            if from.port() < UNPRIVILEGED {
                self.output.push_back(Output::Given { mac: identity, address, boots: true });
            }
            // To whoever asked: it has its address.
            let (link, source) = (origin.link, origin.server);
            let (to, source_port) = (from, PXE_PORT);
            self.output.push_back(Output::Send { link, source, source_port, to, hardware: None, bytes });
        } else {
            self.send(origin, request, bytes, None, 0);
        }
        if boot.is_program() && kind == MessageType::Ack {
            self.remember(now, request);
        }
        self.note(request.mac, format!("proxy {kind:?} for {client}: {detail}"));
        if kind == MessageType::Ack || client.is_ipxe() {
            self.output.push_back(Output::Event(BootEvent {
                mac: identity,
                node: who.node().cloned(),
                phase: Phase::Dhcp,
                ip: address.map(Into::into),
                detail: format!("another server gives the address; for {client}: {detail}"),
                bytes: len,
            }));
        }
    }

    /// A machine takes an address of the server that gives them here: who asks from there later is this machine.
    fn chose(&mut self, who: Who<'_>, identity: Mac, address: Option<Ipv4Addr>, request: &Request) {
        let client = Client::of(request);
        if let (Some(address), Who::Node(..) | Who::Unknown) = (address, who) {
            self.output.push_back(Output::Given { mac: identity, address, boots: client.boots() });
            if client.boots() {
                self.note(request.mac, format!("it takes {address} from the other server"));
            }
        }
    }

    /// RFC 2131, section 4.1. A machine that has no address yet takes a unicast if it says so, by its hardware address; not after it
    /// has asked in vain, and not an InfiniBand port (RFC 4390).
    fn send(&mut self, origin: Origin<'_>, request: &Request, bytes: Vec<u8>, lent: Option<Ipv4Addr>, repeats: u8) {
        let unicast = request.flags & BROADCAST_FLAG == 0
            && !request.infiniband
            && !self.settings.policy.always_broadcast
            && repeats < REPEATS;
        let (to, hardware) = if !request.giaddr.is_unspecified() {
            (SocketAddrV4::new(request.giaddr, SERVER_PORT), None)
        } else if let Some(address) = lent.filter(|_| !request.ciaddr.is_unspecified()) {
            let to = if request.kind == MessageType::Inform { request.ciaddr } else { address };
            (SocketAddrV4::new(to, CLIENT_PORT), None)
        } else if let Some(address) = lent.filter(|_| unicast) {
            (SocketAddrV4::new(address, CLIENT_PORT), Some(request.mac))
        } else {
            (SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT), None)
        };
        let (link, source) = (origin.link, origin.server);
        self.output.push_back(Output::Send { link, source, source_port: SERVER_PORT, to, hardware, bytes });
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

/// What a client is told to load, and what is said of it.
pub(super) struct Boot {
    pub(super) file: BootFile,
    url: String,
}

impl Boot {
    /// The name of the file, or its URL.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.file {
            BootFile::Script | BootFile::Http(_) => Some(&self.url),
            BootFile::Nbp(name) => Some(name),
            BootFile::None(_) => None,
        }
    }

    /// For a person.
    pub(super) fn detail(&self) -> &str {
        match &self.file {
            BootFile::Script => "boot script",
            BootFile::Nbp(name) | BootFile::Http(name) => name,
            BootFile::None(why) => why,
        }
    }

    fn is_program(&self) -> bool {
        matches!(self.file, BootFile::Nbp(_) | BootFile::Http(_))
    }
}

/// What to boot. `given` says that the machine was given a boot program again and again.
pub(super) fn boot_file(
    settings: &Settings,
    origin: Origin<'_>,
    (who, identity): (Who<'_>, Mac),
    client: Client,
    given: bool,
) -> Boot {
    let base = format!("http://{}:{}", origin.server, settings.http_port);
    let file = match who {
        _ if !client.boots() => BootFile::None("address only"),
        Who::Device(_) => BootFile::None("no boot file: a device with a reservation, not a node"),
        Who::Unknown if origin.subnet.is_none_or(|(_, subnet)| !subnet.discover) => {
            BootFile::None("no boot file: an unknown machine, and discovery is off in this network")
        }
        Who::Node(node, _) => settings.nbps.boot_file(client, identity, &node.boot, given),
        Who::Unknown => settings.nbps.boot_file(client, identity, &BootChoice::default(), given),
    };
    let url = match &file {
        BootFile::Http(path) => format!("{base}{path}"),
        _ => format!("{base}/boot/{}/script.ipxe", identity.dashed()),
    };
    Boot { file, url }
}

/// Options of one host: those of a reservation, or tags `dhcp.NAME` of a node and of its interface, which win.
pub(super) fn host_options(who: Who<'_>) -> Option<OptionSet> {
    let (node, interface) = match who {
        Who::Device(device) => return Some(device.settings.options.clone()),
        Who::Node(node, interface) => (node, interface),
        Who::Unknown => return None,
    };
    let tags = node.tags.iter().chain(&interface.tags);
    let wanted = tags.filter_map(|(key, value)| Some((key.strip_prefix("dhcp.")?, value)));
    let mut options = OptionSet::default();
    for (name, value) in wanted {
        match option_of_text(name, value) {
            Ok((code, bytes)) => options.set(code, bytes),
            Err(error) => tracing::warn!(node = %node.name, "tag dhcp.{name}: {error}"),
        }
    }
    Some(options).filter(|options| !options.is_empty())
}
