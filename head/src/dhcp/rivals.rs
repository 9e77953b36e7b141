//! Other DHCP servers on our networks: how one is noticed, and what ours does beside it.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use wulfpack_shared::time::Mono;

use crate::config::DhcpMode;

/// How often other servers are looked for.
const PROBE_EVERY: Duration = Duration::from_secs(3 * 60);
/// The second look after the start: the first may have met a switch port that was not open yet.
const PROBE_AGAIN: Duration = Duration::from_secs(2);
/// How long after the start it takes to know whether another server is there, in mode `auto`.
const LOOK: Duration = Duration::from_secs(4);
/// How long after its last sign another server counts as gone: three probes without an answer.
const GONE_AFTER: Duration = Duration::from_secs(10 * 60);

/// Whether requests are answered, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They are.
    Serving,
    /// It is not known yet whether another server is there.
    Looking,
    /// Addresses come from another server; ours adds what to boot.
    Proxy {
        /// That server, once it was seen.
        beside: Option<Ipv4Addr>,
    },
    /// Another DHCP server was seen.
    OtherServer {
        /// Its address.
        address: Ipv4Addr,
        /// Whether our own answers are withheld because of it; not where the administrator has overridden that.
        withheld: bool,
    },
}

impl State {
    /// The other server, if one was seen.
    pub const fn other_server(self) -> Option<Ipv4Addr> {
        match self {
            Self::OtherServer { address, .. } => Some(address),
            Self::Proxy { beside } => beside,
            Self::Serving | Self::Looking => None,
        }
    }

    /// Whether requests are answered at all.
    pub const fn answers(self) -> bool {
        !matches!(self, Self::OtherServer { withheld: true, .. } | Self::Looking)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.write_str("serving"),
            Self::Looking => f.write_str("looking whether another DHCP server is there"),
            Self::Proxy { beside: None } => {
                f.write_str("proxy: says what to boot, another DHCP server gives addresses (none was seen yet)")
            }
            Self::Proxy { beside: Some(address) } => {
                write!(f, "proxy: says what to boot, the DHCP server at {address} gives addresses")
            }
            Self::OtherServer { address, withheld: true } => write!(
                f,
                "withheld: another DHCP server answers at {address}; switch it off, let both answer (`wulf dhcp override on`), or let it give the addresses (`dhcp: mode: proxy`)"
            ),
            Self::OtherServer { address, withheld: false } => {
                write!(f, "serving beside another DHCP server at {address}")
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Rivals {
    own: BTreeSet<Ipv4Addr>,
    mode: DhcpMode,
    overridden: bool,
    /// By link.
    seen: Vec<Option<(Ipv4Addr, Mono)>>,
    next_probe: Mono,
    probes: u32,
    /// Since when it runs; set by the first look.
    looked: Option<Mono>,
    known: bool,
}

impl Rivals {
    /// `own`: addresses of this head and of other heads of the cluster.
    pub(super) fn new(own: BTreeSet<Ipv4Addr>, links: usize, mode: DhcpMode, overridden: bool) -> Self {
        let known = mode != DhcpMode::Auto;
        Self { own, mode, overridden, seen: vec![None; links], next_probe: Mono::ZERO, probes: 0, looked: None, known }
    }

    pub(super) fn set_override(&mut self, overridden: bool) {
        self.overridden = overridden;
    }

    /// It is known which servers are there.
    pub(super) fn settle(&mut self) {
        self.known = true;
    }

    pub(super) fn is_own(&self, server: Ipv4Addr) -> bool {
        self.own.contains(&server)
    }

    /// A sign of the server with this address on this link. Says whether it is news.
    pub(super) fn sign_of(&mut self, now: Mono, link: usize, server: Ipv4Addr) -> bool {
        let own = self.is_own(server);
        match self.seen.get_mut(link).filter(|_| !own) {
            Some(seen) => seen.replace((server, now)).is_none_or(|(before, _)| before != server),
            None => false,
        }
    }

    /// Whether it is time to look for others.
    pub(super) fn probe_due(&mut self, now: Mono) -> bool {
        for seen in &mut self.seen {
            seen.take_if(|(_, at)| now.since(*at) >= GONE_AFTER);
        }
        let started = *self.looked.get_or_insert(now);
        self.known |= now.since(started) >= LOOK;
        let due = now >= self.next_probe;
        if due {
            self.probes += 1;
            self.next_probe = now + if self.probes == 1 { PROBE_AGAIN } else { PROBE_EVERY };
        }
        due
    }

    /// When to look again.
    pub(super) fn next(&self) -> Mono {
        match self.looked {
            Some(started) if !self.known => self.next_probe.min(started + LOOK),
            _ => self.next_probe,
        }
    }

    /// How requests from this link are answered.
    pub(super) fn on(&self, link: usize) -> State {
        let seen = self.seen.get(link).copied().flatten().map(|(address, _)| address);
        match (self.mode, seen) {
            (DhcpMode::Proxy, beside) => State::Proxy { beside },
            (DhcpMode::Auto, Some(address)) if !self.overridden => State::Proxy { beside: Some(address) },
            (DhcpMode::Auto, None) if !self.known => State::Looking,
            (DhcpMode::Full, Some(address)) => State::OtherServer { address, withheld: !self.overridden },
            (_, Some(address)) => State::OtherServer { address, withheld: false },
            (_, None) => State::Serving,
        }
    }

    /// The state of the whole server: that of the link with the most to tell.
    pub(super) fn state(&self) -> State {
        let links = (0..self.seen.len()).map(|link| self.on(link));
        links.max_by_key(|state| state.other_server().is_some()).unwrap_or(State::Serving)
    }
}
