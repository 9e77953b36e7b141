//! One file on its way to one client: which blocks are sent, and when again. Pure.

use core::time::Duration;

use bytes::Bytes;
use wulfpack_shared::time::Mono;

use super::packet::{Terms, data};

/// How long the first acknowledgement may take.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// Bounds of that time once it is measured: a machine under a hypervisor or in a loaded firmware may stop for a moment.
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(8);
/// How often in a row something is sent in vain until the client counts as gone: 40 s.
const ATTEMPTS: u8 = 7;

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    Going,
    /// The client has it all.
    Done,
    /// The client is gone.
    Lost,
}

#[derive(Debug)]
pub(super) struct Sender {
    bytes: Bytes,
    terms: Terms,
    /// The answer to the options, until it is acknowledged.
    oack: Option<Vec<u8>>,
    /// Blocks that the client has, and that were sent at least once.
    acked: u64,
    sent: u64,
    attempts: u8,
    wait: Duration,
    smooth: Option<Duration>,
    /// What is measured: the acknowledgement of this block, sent once, at this time.
    timed: Option<(u64, Mono)>,
    deadline: Mono,
}

impl Sender {
    pub(super) fn new(bytes: Bytes, terms: Terms, oack: Option<Vec<u8>>) -> Self {
        Self {
            bytes,
            terms,
            oack,
            acked: 0,
            sent: 0,
            attempts: 0,
            wait: WAIT_FIRST,
            smooth: None,
            timed: None,
            deadline: Mono::ZERO,
        }
    }

    /// Number of blocks; the last is shorter than the others, if need be empty.
    fn blocks(&self) -> u64 {
        self.bytes.len() as u64 / u64::from(self.terms.block) + 1
    }

    pub(super) const fn deadline(&self) -> Mono {
        self.deadline
    }

    /// Bytes that the client has.
    pub(super) fn delivered(&self) -> u64 {
        (self.acked * u64::from(self.terms.block)).min(self.bytes.len() as u64)
    }

    /// Whether nothing was acknowledged yet: a repeated request is then a lost answer.
    pub(super) const fn is_fresh(&self) -> bool {
        self.acked == 0
    }

    /// Sends what may be sent now, from the first block that is not acknowledged.
    pub(super) fn send(&mut self, now: Mono, packets: &mut Vec<Vec<u8>>) {
        self.deadline = now + self.wait;
        if let Some(oack) = &self.oack {
            packets.push(oack.clone());
            self.timed.get_or_insert((0, now));
            return;
        }
        let last = self.blocks().min(self.acked + u64::from(self.terms.window));
        let fresh = self.sent < last;
        for number in self.acked + 1..=last {
            packets.push(data(number as u16, self.block(number)));
        }
        self.sent = self.sent.max(last);
        // What was sent twice is not measured (RFC 6298, section 3).
        self.timed = if fresh { Some((last, now)) } else { None };
    }

    fn block(&self, number: u64) -> &[u8] {
        let len = usize::from(self.terms.block);
        let start = usize::try_from(number - 1).map_or(usize::MAX, |index| index.saturating_mul(len));
        let end = start.saturating_add(len).min(self.bytes.len());
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The client has all blocks up to `number`, of which the wire carries 16 bits.
    pub(super) fn acknowledge(&mut self, now: Mono, number: u16, packets: &mut Vec<Vec<u8>>) -> Progress {
        let ahead = u64::from(number.wrapping_sub(self.acked as u16));
        let begins = self.oack.is_some() && number == 0;
        if !begins && (self.oack.is_some() || ahead == 0 || self.acked + ahead > self.sent) {
            // An old acknowledgement, or one for what was never sent. Answering it with data would double every packet from here
            // on (RFC 1123, section 4.2.3.1).
            return Progress::Going;
        }
        self.oack = None;
        self.acked += ahead;
        self.attempts = 0;
        if let Some((_, since)) = self.timed.take_if(|(timed, _)| *timed <= self.acked) {
            self.measure(now.since(since));
        }
        if self.acked == self.blocks() {
            return Progress::Done;
        }
        self.send(now, packets);
        Progress::Going
    }

    fn measure(&mut self, took: Duration) {
        let smooth = self.smooth.map_or(took, |smooth| (smooth * 7 + took) / 8);
        self.smooth = Some(smooth);
        self.wait = (smooth * 4).clamp(WAIT_MIN, WAIT_MAX);
    }

    /// Nothing was heard until the deadline.
    pub(super) fn timeout(&mut self, now: Mono, packets: &mut Vec<Vec<u8>>) -> Progress {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS {
            // Some ROMs do not acknowledge the last block: they have what they wanted.
            let whole = self.oack.is_none() && self.sent == self.blocks() && self.acked + 1 >= self.sent;
            return if whole { Progress::Done } else { Progress::Lost };
        }
        self.wait = (self.wait * 2).min(WAIT_MAX);
        self.send(now, packets);
        Progress::Going
    }
}
