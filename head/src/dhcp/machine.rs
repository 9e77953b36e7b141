//! The server, pure: packets and time in, packets and events out. `judge` decides, `act` does what was decided.

use core::time::Duration;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::{Mono, Now, UnixTime};

use super::interfaces::Link;
use super::judge::{Uuids, View};
use super::leases::{LeaseRecord, Pool};
use super::packet::{Request, code};
use super::pending::Pending;
use super::policy::Policy;
use super::rates::{Pace, Rates};
use super::reply::probe;
use super::rivals::{Rivals, State};
use crate::boot::Nbps;
use crate::fleet::BootEvent;
use crate::registry::Snapshot;

/// A machine that comes back as iPXE this often within [`LOOP_TIME`] after it was given a boot program gets the script instead.
pub(super) const LOOP_COUNT: u8 = 2;
pub(super) const LOOP_TIME: Duration = Duration::from_secs(5 * 60);

/// What the server needs to know beside the nodes.
#[derive(Clone, Debug, Default)]
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
    /// Networks, reservations, options, and who gives the addresses.
    pub policy: Policy,
}

/// The port that a packet came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// 67: the server's.
    Server,
    /// 68: the client's, where other servers answer our probes.
    Client,
    /// 4011: what PXE firmware asks for its boot file where another server gave the address.
    Pxe,
}

/// What happens to the server.
#[derive(Debug)]
pub enum Input<'a> {
    /// A packet came in.
    Packet {
        /// Index of the interface in [`Settings::links`].
        link: usize,
        /// The port it came to.
        port: Port,
        /// Who sent it.
        from: SocketAddrV4,
        /// The UDP payload.
        bytes: &'a [u8],
    },
    /// Somebody answers ARP for an address.
    InUse {
        /// Index of the interface in [`Settings::links`].
        link: usize,
        /// The address.
        address: Ipv4Addr,
        /// Whoever answers.
        by: Mac,
    },
    /// Leases from before, and from other heads.
    Leases(Vec<LeaseRecord>),
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
        /// The machine with that address, where it cannot be asked by ARP because it does not have the address yet.
        hardware: Option<Mac>,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
    /// Ask by ARP who has an address.
    Probe {
        /// Index of the interface in [`Settings::links`].
        link: usize,
        /// The address.
        address: Ipv4Addr,
    },
    /// Store a lease; an answer that follows is sent when that is done, and not at all where another head has lent the address.
    Store(LeaseRecord),
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
    /// What was decided about the packet of this machine, and why.
    Note {
        /// The machine.
        mac: Mac,
        /// For a person.
        text: Cow<'static, str>,
    },
    /// For the fleet.
    Event(BootEvent),
    /// For administrators.
    Alarm(String),
}

/// What was not answered, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// Packets of machines that ask too often.
    pub limited: u64,
    /// Addresses of a range that were found in use before they were lent.
    pub conflicts: u64,
    /// Requests for an address of a range that had none left.
    pub exhausted: u64,
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
pub(super) struct Handed {
    pub(super) count: u8,
    pub(super) xid: u32,
    pub(super) at: Mono,
}

/// The server.
#[derive(Debug)]
pub struct Machine {
    pub(super) settings: Arc<Settings>,
    pub(super) nodes: Arc<Snapshot>,
    pub(super) uuids: Arc<Uuids>,
    pub(super) rivals: Rivals,
    pub(super) handed: BTreeMap<Mac, Handed>,
    /// Ranges, by index of their network in the policy.
    pub(super) pools: BTreeMap<usize, Pool>,
    pub(super) pending: Pending,
    rates: Rates,
    pub(super) counters: Counters,
    pub(super) output: VecDeque<Output>,
    /// When the network with this index was last said to be full.
    pub(super) full_said: BTreeMap<usize, Mono>,
}

impl Machine {
    /// A server that knows no node yet.
    pub fn new(settings: Settings) -> Self {
        let links = settings.links.iter().flat_map(|link| link.addresses.iter().map(Ipv4Net::addr));
        let own = links.chain(settings.own_heads.iter().copied()).collect();
        let mode = settings.policy.mode;
        let rivals = Rivals::new(own, settings.links.len(), mode, settings.override_other);
        let ranges = settings.policy.subnets.iter().enumerate();
        let pools = ranges.filter_map(|(index, subnet)| Some((index, Pool::new(subnet.range?)))).collect();
        Self {
            rates: Rates::new(settings.seed),
            settings: Arc::new(settings),
            nodes: Arc::default(),
            uuids: Arc::default(),
            rivals,
            handed: BTreeMap::new(),
            pools,
            pending: Pending::default(),
            counters: Counters::default(),
            output: VecDeque::new(),
            full_said: BTreeMap::new(),
        }
    }

    /// Takes one input; drain [`Self::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Packet { link, port, from, bytes } => match Request::parse(bytes) {
                Ok(request) if request.from_server => {
                    if port == Port::Client {
                        self.answer_of_other(now.mono, link, &request);
                    }
                }
                Ok(request) => self.request(now, (link, port, from), &request, bytes),
                Err(error) => {
                    self.counters.malformed += 1;
                    tracing::debug!(%error, "packet ignored");
                }
            },
            Input::InUse { link, address, by } => self.in_use(now, link, address, by),
            Input::Leases(records) => {
                for record in records {
                    if let Some(pool) = self.pools.values_mut().find(|pool| pool.contains(record.address)) {
                        pool.restore(record, wall(now));
                    }
                }
            }
            Input::Nodes(nodes) => {
                self.handed.retain(|mac, _| nodes.by_mac(*mac).is_some());
                self.uuids = Arc::new(Uuids::of(&nodes));
                self.nodes = nodes;
            }
            Input::Override(overridden) => self.rivals.set_override(overridden),
            Input::Tick => self.tick(now),
        }
    }

    fn tick(&mut self, now: Now) {
        while let Some((_, waiting)) = self.pending.next_done(now.mono) {
            if let Ok(request) = Request::parse(&waiting.bytes) {
                self.offer_looked_at(now, waiting.link, &request);
            }
        }
        if self.rivals.probe_due(now.mono) {
            self.handed.retain(|_, handed| now.mono.since(handed.at) < LOOP_TIME);
            self.probe();
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When to call with [`Input::Tick`], and why.
    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let probe = (self.rivals.next(), "look for other DHCP servers");
        let pending = self.pending.next_end().map(|end| (end, "an address that nobody uses can be offered"));
        pending.into_iter().chain([probe]).min()
    }

    /// What it goes by.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings)
    }

    /// Whether it answers, and what it did not answer.
    pub fn status(&self) -> Status {
        Status { state: self.rivals.state(), counters: self.counters }
    }

    pub(super) fn view<'a>(&self, settings: &'a Settings, nodes: &'a Snapshot, uuids: &'a Uuids) -> View<'a, '_> {
        View { settings, nodes, uuids, rivals: &self.rivals }
    }

    fn probe(&mut self) {
        for (index, link) in self.settings.links.iter().enumerate() {
            let Some(source) = link.addresses.first().map(Ipv4Net::addr) else { continue };
            let Some(bytes) = probe(link.mac, self.settings.seed) else { continue };
            let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
            let (link, source_port) = (index, CLIENT_PORT);
            self.output.push_back(Output::Send { link, source, source_port, to, hardware: None, bytes });
        }
    }

    /// An OFFER to our own probe.
    fn answer_of_other(&mut self, now: Mono, link: usize, reply: &Request) {
        let ours = self.settings.links.get(link).is_some_and(|link| link.mac == reply.mac);
        let offer = ours && reply.xid == self.settings.seed && reply.kind == MessageType::Offer;
        if let Some(server) = reply.address(code::SERVER_ID).filter(|_| offer) {
            self.sign_of(now, link, server);
        }
    }

    /// Another server was noticed.
    pub(super) fn sign_of(&mut self, now: Mono, link: usize, server: Ipv4Addr) {
        if self.rivals.sign_of(now, link, server) {
            let name = self.settings.links.get(link).map_or("", |link| link.name.as_str());
            let state = self.rivals.on(link);
            self.output
                .push_back(Output::Alarm(format!("another DHCP server answers on {name}, at {server}: {state}")));
        }
    }

    /// Whether this machine may be answered again already; how often it began this exchange before.
    pub(super) fn pace(&mut self, now: Mono, request: &Request) -> Option<u8> {
        match self.rates.count(now, request.mac, request.xid) {
            Pace::Fine(repeats) => Some(repeats),
            Pace::TooMany(first) => {
                self.counters.limited += 1;
                if first {
                    self.note(request.mac, "it asks too often: not answered until it calms down");
                    tracing::warn!(mac = %request.mac, "a machine sends more DHCP requests than any firmware does; it is not answered until it calms down");
                }
                None
            }
        }
    }

    pub(super) fn note(&mut self, mac: Mac, text: impl Into<Cow<'static, str>>) {
        self.output.push_back(Output::Note { mac, text: text.into() });
    }
}

/// The time of day; without one, the time since the start will do for leases.
pub(super) fn wall(now: Now) -> UnixTime {
    now.wall.unwrap_or(UnixTime(now.mono.as_millis()))
}
