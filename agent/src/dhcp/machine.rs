//! The client's states and timers (RFC 2131, sections 4.1 and 4.4).

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use wulfpack_shared::time::Mono;

use super::lease::Lease;
use super::packet::{ClientId, Heard, Say, build, parse};

/// First wait for an answer; it doubles up to [`WAIT_MAX`]. Each is off by up to a second either way.
const WAIT_MIN: Duration = Duration::from_secs(4);
const WAIT_MAX: Duration = Duration::from_secs(64);
/// Requests for an offer before the client looks for another one.
const REQUESTS_MAX: u32 = 4;
/// Shortest wait between requests of a client that has an address (section 4.4.5).
const EXTEND_MIN: Duration = Duration::from_secs(60);

/// What the client is told.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Time has passed.
    Tick,
    /// A packet came to the client's port.
    Packet(&'a [u8]),
}

/// What the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet to the servers' port.
    Send {
        /// The server; `None`: broadcast.
        to: Option<Ipv4Addr>,
        /// The packet.
        packet: Vec<u8>,
    },
    /// The address is ours, or still is.
    Bound(Lease),
    /// The address is no longer ours; the client looks for another.
    Lost(LostReason),
}

/// Why an address was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// Its time ran out without an answer.
    Expired,
    /// A server refused to extend it.
    Refused,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Say it again: nobody answered.
    Repeat,
    /// T1, T2 or the end of the lease.
    Lease,
}

#[derive(Clone, Debug)]
enum State {
    /// Will look for servers; waits after a refusal.
    Init,
    /// Waits for offers.
    Selecting,
    /// Has asked for this offer.
    Requesting(Lease),
    /// Has it, since then.
    Bound(Lease, Mono),
    /// Asks its server for more (T1 has passed).
    Renewing(Lease, Mono),
    /// Asks every server (T2 has passed).
    Rebinding(Lease, Mono),
}

/// A DHCP client for one interface.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    rng: ChaCha8Rng,
    state: State,
    xid: u32,
    /// When this exchange began, for `secs`; a lease counts from the last request.
    began: Mono,
    asked: Mono,
    /// Packets said in this state without an answer.
    said: u32,
    /// When to act next.
    next: Option<(Mono, Reason)>,
    outputs: VecDeque<Output>,
}

impl Client {
    /// A client that begins to ask at its first tick. `rng` makes transaction ids and jitter.
    pub fn new(id: ClientId, rng: ChaCha8Rng) -> Self {
        Self {
            id,
            rng,
            state: State::Init,
            xid: 0,
            began: Mono::ZERO,
            asked: Mono::ZERO,
            said: 0,
            next: Some((Mono::ZERO, Reason::Repeat)),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Mono, input: Input<'_>) {
        match input {
            Input::Tick => {
                if self.next.is_some_and(|(at, _)| at <= now) {
                    self.due(now);
                }
            }
            Input::Packet(bytes) => {
                if let Some(heard) = parse(&self.id, self.xid, bytes) {
                    self.heard(now, heard);
                }
            }
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to tick, and why.
    pub fn poll_timeout(&self) -> Option<(Mono, Reason)> {
        self.next
    }

    /// The lease in force.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound(lease, _) | State::Renewing(lease, _) | State::Rebinding(lease, _) => Some(lease),
            State::Init | State::Selecting | State::Requesting(_) => None,
        }
    }

    fn due(&mut self, now: Mono) {
        match core::mem::replace(&mut self.state, State::Init) {
            State::Init => self.discover(now),
            State::Selecting => {
                self.state = State::Selecting;
                self.say(now, None, Say::Discover);
            }
            State::Requesting(_) if self.said >= REQUESTS_MAX => self.discover(now),
            State::Requesting(offer) => self.request(now, offer),
            State::Bound(lease, since) => {
                self.begin(now);
                self.extend(now, lease, since);
            }
            State::Renewing(lease, since) | State::Rebinding(lease, since) => self.extend(now, lease, since),
        }
    }

    /// A new exchange with a new transaction id.
    fn begin(&mut self, now: Mono) {
        self.xid = self.rng.next_u32();
        self.began = now;
        self.said = 0;
    }

    fn discover(&mut self, now: Mono) {
        self.begin(now);
        self.state = State::Selecting;
        self.say(now, None, Say::Discover);
    }

    fn request(&mut self, now: Mono, offer: Lease) {
        let say = Say::Request { ip: offer.ip, server: offer.server };
        self.state = State::Requesting(offer);
        self.say(now, None, say);
    }

    /// Says it, and plans to say it again after 4, 8, 16, 32, 64, 64 … seconds, each off by up to one.
    fn say(&mut self, now: Mono, to: Option<Ipv4Addr>, say: Say) {
        let secs = u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX);
        self.asked = now;
        if let Some(packet) = build(&self.id, self.xid, secs, say) {
            self.outputs.push_back(Output::Send { to, packet });
        }
        let wait = WAIT_MIN.saturating_mul(1 << self.said.min(4)).min(WAIT_MAX);
        self.said = self.said.saturating_add(1);
        self.next = Some((now + self.jittered(wait), Reason::Repeat));
    }

    fn jittered(&mut self, wait: Duration) -> Duration {
        let jitter = Duration::from_millis(u64::from(self.rng.next_u32() % 2001));
        (wait + jitter).saturating_sub(Duration::from_secs(1))
    }

    /// T1 has passed: asks the server; from T2 on asks everybody; at the end gives up. Each wait is half of what is
    /// left, at least a minute.
    fn extend(&mut self, now: Mono, lease: Lease, since: Mono) {
        let Some((_, rebind, end)) = lease.times() else {
            self.state = State::Bound(lease, since);
            self.next = None;
            return;
        };
        let (rebind, end) = (since + rebind, since + end);
        if now >= end {
            self.lose(now, LostReason::Expired);
            return;
        }
        let ip = lease.ip;
        let (to, until) = if now >= rebind { (None, end) } else { (Some(lease.server), rebind) };
        self.state = if now >= rebind { State::Rebinding(lease, since) } else { State::Renewing(lease, since) };
        self.say(now, to, Say::Extend { ip });
        let again = now + (until.since(now) / 2).max(EXTEND_MIN);
        self.next = Some(if again < until { (again, Reason::Repeat) } else { (until, Reason::Lease) });
    }

    fn lose(&mut self, now: Mono, why: LostReason) {
        self.outputs.push_back(Output::Lost(why));
        self.state = State::Init;
        // A server that refuses at once must not be asked in a tight circle.
        let pause = match why {
            LostReason::Expired => Duration::ZERO,
            LostReason::Refused => self.jittered(WAIT_MIN),
        };
        self.next = Some((now + pause, Reason::Repeat));
    }

    fn heard(&mut self, now: Mono, heard: Heard) {
        match (core::mem::replace(&mut self.state, State::Init), heard) {
            (State::Selecting, Heard::Offer(offer)) => {
                self.said = 0;
                self.request(now, offer);
            }
            (State::Requesting(offer), Heard::Ack(lease)) if lease.ip == offer.ip && lease.server == offer.server => {
                self.bind(lease);
            }
            (State::Renewing(old, _) | State::Rebinding(old, _), Heard::Ack(lease)) if lease.ip == old.ip => {
                self.bind(lease);
            }
            (State::Requesting(_), Heard::Nak) => {
                let wait = self.jittered(WAIT_MIN);
                self.next = Some((now + wait, Reason::Repeat));
            }
            (State::Renewing(..) | State::Rebinding(..), Heard::Nak) => self.lose(now, LostReason::Refused),
            // A second offer, a late answer: nothing changes.
            (state, _) => self.state = state,
        }
    }

    /// The lease counts from when it was asked for (section 4.4.1).
    fn bind(&mut self, lease: Lease) {
        let since = self.asked;
        self.next = lease.times().map(|(renew, ..)| (since + renew, Reason::Lease));
        self.outputs.push_back(Output::Bound(lease.clone()));
        self.state = State::Bound(lease, since);
    }
}
