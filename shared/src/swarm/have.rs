//! HAVE: telling each peer what became ours, as state. Sent after the time of four runs that have the link to
//! themselves or 20 ms, whichever is earlier; what few neighbours hold, after an eighth of one: it is what all wait for.

use core::time::Duration;
use std::collections::VecDeque;

use super::bits::runs_of;
use super::image::Image;
use super::machine::Engine;
use super::peers::Peer;
use super::{ImageIx, Output, PeerIx, PeerMessage, Stats};
use crate::image::Run;
use crate::limits::HAVE_RANGES_MAX;
use crate::time::Mono;

/// How many run times the longest delay is, and the part of one that it is for what few hold.
const RUNS: u32 = 4;
const RARE_PART: u32 = 8;
/// The longest delay.
const LONGEST: Duration = Duration::from_millis(20);
/// The shortest: before the first run has been timed, and where runs take microseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// The shortest for what few hold.
const SHORTEST_RARE: Duration = Duration::from_micros(100);
/// How much longer than the image the log may become (units that went bad and came again) before it is written anew.
const LOG_FACTOR: usize = 2;

impl Engine {
    /// Something became ours: announce it soon, sooner if it is `rare`, at once if `at_once`.
    pub(super) fn announce(&mut self, now: Mono, at_once: bool, rare: bool) {
        // The average is of runs that shared our link with those in the other slots.
        let alone = self.pace.run() / u32::from(self.config.slots_down.max(1));
        let delay = match rare {
            _ if at_once || (rare && alone.is_zero()) => Duration::ZERO,
            true => (alone / RARE_PART).clamp(SHORTEST_RARE, LONGEST / 4),
            false => (alone * RUNS).clamp(SHORTEST, LONGEST),
        };
        let due = now + delay;
        self.flush_at = Some(self.flush_at.map_or(due, |at| at.min(due)));
    }

    /// Tells every peer what it does not know yet.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        for (index, image) in (0u16..).zip(&self.images) {
            let Some(image) = image else { continue };
            let (ix, mut fresh) = (ImageIx(index), Fresh::default());
            for (&peer, state) in &mut self.peers {
                say(image, ix, peer, state, &mut fresh, &mut self.out, &mut self.stats);
            }
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
        if self.config.serves_nobody() && !peer.is_head() {
            return; // heads send what they do not know to be held
        }
        for (index, image) in (0u16..).zip(&self.images) {
            if let Some(image) = image {
                say(image, ImageIx(index), ix, peer, &mut Fresh::default(), &mut self.out, &mut self.stats);
            }
        }
    }
}

/// What became ours since a place in the log: most peers were told of everything before the same place.
#[derive(Debug, Default)]
struct Fresh {
    since: Option<usize>,
    units: Vec<u32>,
}

impl Fresh {
    fn since(&mut self, image: &Image, told: usize) -> &[u32] {
        if self.since != Some(told) {
            self.since = Some(told);
            self.units.clear();
            let fresh = image.log.get(told..).unwrap_or_default();
            self.units.extend(fresh.iter().copied().filter(|&unit| image.held.get(unit)));
            self.units.sort_unstable();
            self.units.dedup();
        }
        &self.units
    }
}

fn say(
    image: &Image,
    ix: ImageIx,
    to: PeerIx,
    peer: &mut Peer,
    fresh: &mut Fresh,
    out: &mut VecDeque<Output>,
    stats: &mut Stats,
) {
    for ranges in news(image, peer, ix, fresh).chunks(HAVE_RANGES_MAX) {
        stats.haves += 1;
        let message = PeerMessage::Have { image: ix, ranges: ranges.to_vec() };
        out.push_back(Output::Send { peer: to, message });
    }
}

/// What to tell `peer` of the image. A head is told everything, for it ranks units by their copies; a node only what it
/// lacks, and once, as a single range, that we are complete.
fn news(image: &Image, peer: &mut Peer, ix: ImageIx, fresh: &mut Fresh) -> Vec<Run> {
    let to_head = peer.is_head();
    let Some(theirs) = peer.image_mut(ix) else { return vec![] };
    let told = core::mem::replace(&mut theirs.told, image.log.len());
    if image.is_complete() {
        let first = !core::mem::replace(&mut theirs.told_complete, true);
        return if first { vec![Run { first: 0, count: image.total }] } else { vec![] };
    }
    theirs.told_complete = false;
    let units = fresh.since(image, told).iter().copied();
    runs_of(units.filter(|&unit| to_head || !theirs.has.get(unit)))
}
