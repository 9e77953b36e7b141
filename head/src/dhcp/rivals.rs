//! Other DHCP servers on our networks: how one is noticed, and that it silences ours until it is gone or somebody decides.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use wulfpack_shared::time::Mono;

/// How often other servers are looked for.
const PROBE_EVERY: Duration = Duration::from_secs(3 * 60);
/// How long after its last sign another server counts as gone: three probes without an answer.
const GONE_AFTER: Duration = Duration::from_secs(10 * 60);

/// Whether requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They are.
    Serving,
    /// Another DHCP server was seen.
    OtherServer {
        /// Its address.
        address: Ipv4Addr,
        /// Whether our own answers are withheld because of it; not where the administrator has overridden that.
        withheld: bool,
    },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.write_str("serving"),
            Self::OtherServer { address, withheld: true } => write!(
                f,
                "withheld: another DHCP server answers at {address}; switch it off, or let both answer: `wulf dhcp override on`"
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
    overridden: bool,
    seen: Option<(Ipv4Addr, Mono)>,
    next_probe: Mono,
}

impl Rivals {
    /// `own`: addresses of this head and of other heads of the cluster.
    pub(super) fn new(own: BTreeSet<Ipv4Addr>, overridden: bool) -> Self {
        Self { own, overridden, seen: None, next_probe: Mono::ZERO }
    }

    pub(super) fn set_override(&mut self, overridden: bool) {
        self.overridden = overridden;
    }

    pub(super) fn is_own(&self, server: Ipv4Addr) -> bool {
        self.own.contains(&server)
    }

    /// A sign of the server with this address.
    pub(super) fn sign_of(&mut self, now: Mono, server: Ipv4Addr) {
        if !self.is_own(server) {
            self.seen = Some((server, now));
        }
    }

    /// Whether it is time to look for others.
    pub(super) fn probe_due(&mut self, now: Mono) -> bool {
        if self.seen.is_some_and(|(_, at)| now.since(at) >= GONE_AFTER) {
            self.seen = None;
        }
        let due = now >= self.next_probe;
        if due {
            self.next_probe = now + PROBE_EVERY;
        }
        due
    }

    pub(super) fn next_probe(&self) -> Mono {
        self.next_probe
    }

    pub(super) fn state(&self) -> State {
        match self.seen {
            None => State::Serving,
            Some((address, _)) => State::OtherServer { address, withheld: !self.overridden },
        }
    }

    pub(super) fn withheld(&self) -> bool {
        matches!(self.state(), State::OtherServer { withheld: true, .. })
    }
}
