//! Corrupt units: taken elsewhere, refuted to their sender; and whether it is not us.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use super::deadline::FIRST_BACKOFF;
use super::machine::Engine;
use super::{Event, ImageIx, Misdeed, Output, PeerIx, PeerMessage, ReqId};
use crate::time::Mono;

/// So many peers that sent corrupt units …
const SUSPECT_PEERS: usize = 3;
/// … among so many units received make this machine the suspect.
const SUSPECT_UNITS: u64 = 100;

/// The last corrupt units: who sent them, and as which unit received.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    received: u64,
    recent: VecDeque<(PeerIx, u64)>,
}

impl Suspicion {
    /// A good unit was received.
    pub(super) const fn good(&mut self) {
        self.received += 1;
    }

    /// A corrupt one was. True if by now this machine is the suspect; starts anew then.
    fn corrupt(&mut self, from: PeerIx) -> bool {
        self.received += 1;
        self.recent.push_back((from, self.received));
        while self.recent.front().is_some_and(|&(_, at)| at + SUSPECT_UNITS <= self.received) {
            self.recent.pop_front();
        }
        let suspect = self.recent.iter().map(|&(peer, _)| peer).collect::<BTreeSet<_>>().len() >= SUSPECT_PEERS;
        if suspect {
            self.recent.clear();
        }
        suspect
    }
}

impl Engine {
    pub(super) fn on_corrupt(&mut self, now: Mono, req: ReqId, unit: u32) {
        let Some(request) = self.requests.get_mut(&req) else { return };
        request.corrupt = true;
        let (from, image) = (request.peer, request.image);
        if !request.run.is_some_and(|run| run.contains(unit)) {
            return;
        }
        self.stats.corrupt += 1;
        self.forget_copy(from, image, unit);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.backoff.failed(now, FIRST_BACKOFF);
            self.out.push_back(Output::Send { peer: from, message: PeerMessage::Refuted { image, unit } });
        }
        self.misbehaved(from, Misdeed::Corrupt { image, unit });
        if self.suspicion.corrupt(from) {
            self.out.push_back(Output::Event(Event::SelfSuspect));
        }
    }

    /// A stored unit went bad: nobody should ask us for it, and it is wanted again where there is room for it.
    pub(super) fn on_dropped(&mut self, ix: ImageIx, unit: u32, again: bool) {
        let head = self.config.is_head();
        let Some(image) = self.image_mut(ix) else { return };
        if !image.held.clear(unit) {
            return;
        }
        image.complete_said = false;
        image.sealed |= !again;
        let wanted = again && !head && (image.has_table() || image.is_page(unit));
        self.set_wanted(ix, unit, wanted);
        for (&peer, theirs) in &mut self.peers {
            if let Some(theirs) = theirs.image_mut(ix) {
                theirs.told_complete = false;
                theirs.common -= u32::from(theirs.has.get(unit));
                self.out.push_back(Output::Send { peer, message: PeerMessage::Lost { image: ix, unit } });
            }
        }
        self.hungry = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_senders_within_a_hundred_units_make_us_the_suspect() {
        let mut suspicion = Suspicion::default();
        assert!((0..50).all(|_| !suspicion.corrupt(PeerIx(1))), "one bad peer is one bad peer");
        assert!(!suspicion.corrupt(PeerIx(2)));
        (0..100).for_each(|_| suspicion.good());
        assert!(!suspicion.corrupt(PeerIx(3)), "the others were long ago");
        assert!(!suspicion.corrupt(PeerIx(2)));
        assert!(suspicion.corrupt(PeerIx(1)));
        assert!(!suspicion.corrupt(PeerIx(1)), "said once, then counted anew");
    }
}
