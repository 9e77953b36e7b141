//! A cap on what goes one way. Whoever is about to send, or has just received, says how many bytes of units it is and waits for its
//! turn. What they cost on the wire is reckoned with the headers; what else was sent (acknowledgements, messages, repetitions) is
//! added as the socket counts it.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::time::sleep_until;

use crate::manners::Cap;
use crate::net::endpoint::{HEADERS_IPV4, WireMeter};

/// What may be sent at once after a pause: a timer wakes no more exactly than this anyway.
const BURST: Duration = Duration::from_millis(10);
/// Bytes of a turn: so many that a turn lasts this long …
const TURN: Duration = Duration::from_millis(5);
/// … within these bounds.
const TURN_BYTES: (u64, u64) = (8 * 1024, 256 * 1024);
/// Bytes that QUIC puts into a datagram beside those of a stream: short header, tag, frame header (RFC 9000, sections 17.3 and 19.8).
const QUIC: u64 = 38;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Bits a second.
    rate: Option<u64>,
    /// Bytes of a datagram's payload.
    datagram: u64,
    meter: Option<Arc<WireMeter>>,
    state: Mutex<State>,
    waited_us: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// From when on the next turn may be taken.
    next: Instant,
    /// Bytes on the wire that were paid for.
    paid: u64,
}

impl Throttle {
    /// For datagrams with so many bytes of payload. With a meter it also pays for what nobody asked a turn for.
    pub(super) fn new(cap: Cap, datagram: u16, meter: Option<Arc<WireMeter>>) -> Self {
        Self {
            rate: cap.get(),
            datagram: u64::from(datagram),
            meter,
            state: Mutex::new(State { next: Instant::now(), paid: 0 }),
            waited_us: AtomicU64::new(0),
        }
    }

    /// Most bytes of one turn.
    pub(super) fn turn(&self) -> usize {
        let Some(rate) = self.rate else { return usize::MAX };
        let bytes = u128::from(rate / 8) * TURN.as_micros() / 1_000_000;
        let (least, most) = TURN_BYTES;
        usize::try_from(bytes).unwrap_or(usize::MAX).clamp(least as usize, most as usize)
    }

    /// How long the link takes for so many bytes at this rate.
    fn time(rate: u64, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Waits for a turn of so many bytes of units.
    pub(super) async fn take(&self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let start = self.reserve(rate, bytes as u64, Instant::now());
        let now = Instant::now();
        if start > now {
            self.waited_us.fetch_add((start - now).as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
            sleep_until(start.into()).await;
        }
    }

    /// The time at which the turn begins; it is paid for now.
    fn reserve(&self, rate: u64, bytes: u64, now: Instant) -> Instant {
        let wire = bytes * (self.datagram + HEADERS_IPV4) / self.datagram.saturating_sub(QUIC).max(1);
        let sent = self.meter.as_ref().map_or(0, |meter| meter.sent());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let beside = sent.saturating_sub(state.paid);
        let start = state.next.max(now.checked_sub(BURST).unwrap_or(now)) + Self::time(rate, beside);
        state.paid += beside + wire;
        state.next = start + Self::time(rate, wire);
        start
    }

    /// How long turns were waited for, all of them together, in milliseconds.
    pub(super) fn waited_ms(&self) -> u64 {
        self.waited_us.load(Ordering::Relaxed) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_each_other_at_the_rate_headers_included() {
        let cap: Cap = "80mbit".parse().unwrap();
        let throttle = Throttle::new(cap, 1452, None);
        let begin = Instant::now();
        let turn = throttle.turn() as u64;
        assert_eq!(turn, 50_000);
        let mut bytes = 0;
        let mut last = begin;
        while last < begin + Duration::from_secs(10) {
            last = throttle.reserve(80_000_000, turn, begin);
            bytes += turn;
        }
        let wire = bytes as f64 * 1494.0 / 1414.0;
        assert!((0.99..1.01).contains(&(wire / 100e6)), "{wire} bytes in ten seconds");
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let throttle = Throttle::new("8mbit".parse().unwrap(), 1452, None);
        let begin = Instant::now();
        throttle.reserve(8_000_000, 1000, begin);
        let later = begin + Duration::from_secs(100);
        let starts: Vec<Instant> = (0..40).map(|_| throttle.reserve(8_000_000, 1000, later)).collect();
        let at_once = starts.iter().filter(|start| **start <= later).count();
        assert!((9..=11).contains(&at_once), "{at_once} turns of a millisecond at once");
    }

    #[tokio::test]
    async fn without_a_cap_nobody_waits() {
        let throttle = Throttle::new(Cap::NONE, 1452, None);
        assert_eq!(throttle.turn(), usize::MAX);
        throttle.take(1 << 40).await;
        assert_eq!(throttle.waited_ms(), 0);
    }
}
