//! HAVE: telling each peer what became ours, as state. Sent after the time of two runs that have the link to
//! themselves or 20 ms, whichever is earlier.

use core::time::Duration;

use super::bits::runs_of;
use super::image::Image;
use super::machine::Engine;
use super::peers::Peer;
use super::{ImageIx, Output, PeerIx, PeerMessage};
use crate::image::Run;
use crate::limits::HAVE_RANGES_MAX;
use crate::time::Mono;

/// The longest delay.
const LONGEST: Duration = Duration::from_millis(20);
/// The shortest: before the first run has been timed, and where runs take microseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// How much longer than the image the log may become (units that went bad and came again) before it is written anew.
const LOG_FACTOR: usize = 2;

impl Engine {
    /// Something became ours: announce it soon, at once if `at_once`.
    pub(super) fn announce(&mut self, now: Mono, at_once: bool) {
        // The average is of runs that shared our link with those in the other slots.
        let alone = self.pace.run() / u32::from(self.config.slots_down.max(1));
        let delay = if at_once { Duration::ZERO } else { (alone * 2).clamp(SHORTEST, LONGEST) };
        let due = now + delay;
        self.flush_at = Some(self.flush_at.map_or(due, |at| at.min(due)));
    }

    /// Tells every peer what it does not know yet.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        let peers: Vec<PeerIx> = self.peers.keys().copied().collect();
        for peer in peers {
            self.tell(peer);
        }
        self.offer(self.now);
        for image in self.images.iter_mut().flatten() {
            if image.log.len() > LOG_FACTOR * image.total as usize {
                image.log = image.held.iter().collect();
                for theirs in self.peers.values_mut().flat_map(|peer| &mut peer.images).flatten() {
                    theirs.told = image.log.len();
                }
            }
        }
    }

    /// Tells one peer what it does not know yet.
    pub(super) fn tell(&mut self, ix: PeerIx) {
        let Some(peer) = self.peers.get_mut(&ix) else { return };
        for (index, image) in (0u16..).zip(&self.images) {
            let Some(image) = image else { continue };
            let image_ix = ImageIx(index);
            for ranges in news(image, peer, image_ix).chunks(HAVE_RANGES_MAX) {
                let message = PeerMessage::Have { image: image_ix, ranges: ranges.to_vec() };
                self.out.push_back(Output::Send { peer: ix, message });
            }
        }
    }
}

/// What to tell `peer` of the image. A head is told everything, for it ranks units by their copies; a node only what it
/// lacks, and once, as a single range, that we are complete.
fn news(image: &Image, peer: &mut Peer, ix: ImageIx) -> Vec<Run> {
    let to_head = peer.is_head();
    let Some(theirs) = peer.image_mut(ix) else { return vec![] };
    let fresh = image.log.get(theirs.told..).unwrap_or_default();
    theirs.told = image.log.len();
    if image.is_complete() {
        let first = !core::mem::replace(&mut theirs.told_complete, true);
        return if first { vec![Run { first: 0, count: image.total }] } else { vec![] };
    }
    theirs.told_complete = false;
    let mut units: Vec<u32> =
        fresh.iter().copied().filter(|&unit| image.held.get(unit) && (to_head || !theirs.has.get(unit))).collect();
    units.sort_unstable();
    units.dedup();
    runs_of(units.into_iter())
}
