//! The head's policy: what the fewest hold goes out first, and nothing of which a copy is known outside, unless the asker
//! starves. So the head sends about one copy of an image, whatever the number of nodes.

use core::time::Duration;

use super::image::Image;
use super::machine::Engine;
use super::peers::{Peer, PeerImage};
use super::{Event, ImageIx, Output, PeerIx};
use crate::image::Run;
use crate::limits::RUN_MAX;
use crate::time::Mono;

/// A node that lacks something and has said nothing for so many times as long as a run may take to be sent may be dead, and
/// what it holds with it.
const SILENT_PATIENCES: u32 = 2;

/// How long a node that left with everything is taken to serve on: the default of the nodes' seed policy.
const SERVES_ON: Duration = Duration::from_secs(600);

/// Units sent, until the receiver announces them or the time is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) until: Mono,
    pub(super) peer: PeerIx,
    pub(super) image: ImageIx,
    pub(super) run: Run,
}

impl Image {
    /// A live node announced the unit.
    pub(super) fn confirm(&mut self, unit: u32, was_given: bool) {
        if !was_given {
            self.picker.gained(unit);
        }
        if let Some(count) = self.confirmed.get_mut(unit as usize) {
            *count = count.saturating_add(1);
            self.thin -= u32::from(*count == 2);
            self.bare -= u32::from(*count == 1);
        }
    }

    /// A node that had announced the unit lost it or left.
    pub(super) fn unconfirm(&mut self, unit: u32) {
        self.picker.lost(unit);
        if let Some(count) = self.confirmed.get_mut(unit as usize) {
            self.bare += u32::from(*count == 1);
            *count = count.saturating_sub(1);
            self.thin += u32::from(*count == 1);
        }
    }
}

impl Engine {
    /// What a peer that asks for the rarest should get; counted as its copy from now on.
    pub(super) fn choose_for(
        &mut self,
        now: Mono,
        peer: PeerIx,
        ix: ImageIx,
        max_bytes: u32,
        starved: bool,
    ) -> Option<Run> {
        let run = self.rarest_for(now, peer, ix, max_bytes, starved).or_else(|| {
            self.discount_silent(now);
            self.rarest_for(now, peer, ix, max_bytes, starved)
        })?;
        // What is not announced by then does not count as a copy any more: the receiver is slow, or dead.
        let until = now + self.patience(ix, run);
        self.given.push_back(Given { until, peer, image: ix, run });
        Some(run)
    }

    fn rarest_for(&mut self, now: Mono, peer: PeerIx, ix: ImageIx, max_bytes: u32, starved: bool) -> Option<Run> {
        let image = self.images.get_mut(usize::from(ix.0))?.as_mut()?;
        let theirs = self.peers.get_mut(&peer)?.image_mut(ix)?;
        let offer = image.offer_to(theirs);
        let page = offer.next(0).filter(|&unit| image.is_page(unit));
        let unit = match page {
            Some(page) => page,
            None => image.picker.rarest(&mut self.rng, 0, &offer)?,
        };
        let copies = image.picker.copies(unit);
        let known = copies > 0 || now < image.outside_until;
        if page.is_none() && known && !starved {
            return None;
        }
        let fits = |unit| image.picker.copies(unit) == copies && offer.get(unit);
        let run = image.run_around(unit, u64::from(max_bytes).min(RUN_MAX), fits);
        for unit in run.iter() {
            theirs.given.set(unit);
            image.picker.gained(unit);
        }
        Some(run)
    }

    /// (A head.) Does not count what silent nodes hold, until they are heard of again. Only where a head has nothing to give
    /// otherwise.
    pub(super) fn discount_silent(&mut self, now: Mono) {
        let patience = self.usual_patience() * SILENT_PATIENCES;
        let silent = |peer: &Peer| {
            peer.counts()
                && !peer.discounted
                && now.since(peer.heard) > patience
                && peer.images.iter().flatten().any(PeerImage::is_open)
        };
        let all: Vec<PeerIx> = self.peers.iter().filter(|(_, peer)| silent(peer)).map(|(&ix, _)| ix).collect();
        all.into_iter().for_each(|ix| self.discount(ix, true));
    }

    /// Something came of a peer: what it holds counts.
    pub(super) fn heard_of(&mut self, now: Mono, ix: PeerIx) {
        let Some(peer) = self.peers.get_mut(&ix) else { return };
        peer.heard = now;
        if peer.discounted {
            self.discount(ix, false);
        }
    }

    fn discount(&mut self, ix: PeerIx, discounted: bool) {
        let Some(peer) = self.peers.get_mut(&ix).filter(|peer| !peer.is_head()) else { return };
        peer.discounted = discounted;
        for (image, theirs) in self.images.iter_mut().zip(&peer.images) {
            let (Some(image), Some(theirs)) = (image, theirs) else { continue };
            for unit in theirs.has.iter() {
                if discounted { image.unconfirm(unit) } else { image.confirm(unit, false) }
            }
        }
    }

    /// The peer did not get the run, or never announced it: it holds no copy.
    pub(super) fn take_back(&mut self, peer: PeerIx, ix: ImageIx, run: Run) {
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        let Some(theirs) = self.peers.get_mut(&peer).and_then(|peer| peer.image_mut(ix)) else { return };
        for unit in run.iter() {
            if theirs.given.clear(unit) {
                image.picker.lost(unit);
            }
        }
    }

    /// Takes back what was sent long ago and never announced.
    pub(super) fn expire_given(&mut self, now: Mono) {
        while let Some(given) = self.given.pop_front_if(|given| given.until <= now) {
            self.take_back(given.peer, given.image, given.run);
        }
    }

    /// A peer is about to be forgotten that did not break off: what it holds is still outside.
    pub(super) fn remember_outside(&mut self, now: Mono, ix: PeerIx) {
        let Some(peer) = self.peers.get(&ix) else { return };
        for (image, theirs) in self.images.iter_mut().zip(&peer.images) {
            if let (Some(image), Some(theirs)) = (image, theirs)
                && theirs.has.is_full()
            {
                image.outside_until = now + SERVES_ON;
                image.outside.retain(|(who, until)| *who != ix && *until > now);
                if image.outside.len() < 2 {
                    image.outside.push((ix, now + SERVES_ON));
                }
            }
        }
    }

    /// Says once when every unit is held by at least two live nodes: those that are connected, and those that have all of it
    /// and left in peace.
    pub(super) fn check_covered(&mut self, ix: ImageIx) {
        let (head, now) = (self.config.is_head(), self.now);
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        let away = |(who, until): &&(PeerIx, Mono)| *until > now && !self.peers.contains_key(who);
        let covered = match image.outside.iter().filter(away).count() {
            0 => image.thin == 0,
            1 => image.bare == 0,
            _ => true,
        };
        if head && covered && !image.covered {
            image.covered = true;
            self.out.push_back(Output::Event(Event::Covered { image: ix }));
        }
    }
}
