//! The connected peers: what each holds, and what it says.

use core::time::Duration;

use super::bits::{Bits, Tree};
use super::deadline::Backoff;
use super::image::Image;
use super::machine::Engine;
use super::{CloseReason, Event, ImageIx, Misdeed, Output, PeerIx, PeerKind, PeerMessage};
use crate::image::Run;
use crate::limits::HAVE_RANGES_MAX;
use crate::time::Mono;

/// How often a peer may announce the whole of an image that we know it holds.
const REPEATS_MAX: u64 = 16;
/// Refutations of one peer that are looked into: one in this time.
const RECHECK_EACH: Duration = Duration::from_millis(500);

/// What one peer holds of one image.
#[derive(Debug)]
pub(super) struct PeerImage {
    pub(super) has: Bits,
    /// Units that it and we hold.
    pub(super) common: u32,
    /// On a node: what it holds and we want. On a head: what it lacks and was not sent.
    pub(super) offer: Tree,
    /// On a head: units sent to it that it has not announced yet; each counts as a copy.
    pub(super) given: Bits,
    /// How much of our log it was told.
    pub(super) told: usize,
    pub(super) told_complete: bool,
    repeats: u64,
}

/// A connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) kind: PeerKind,
    pub(super) same_rack: bool,
    pub(super) images: Vec<Option<PeerImage>>,
    /// Slots that it offers us.
    pub(super) free: u8,
    /// Slots that it believes we offer.
    pub(super) told_free: u8,
    /// Since when it waits for a slot that it was refused.
    pub(super) came_in_vain: Option<Mono>,
    /// Do not ask it before this.
    pub(super) backoff: Backoff,
    /// Last request, either way.
    pub(super) used: Mono,
    /// Since when both have had everything.
    pub(super) both_complete: Option<Mono>,
    pub(super) rejects: (Mono, u32),
    next_recheck: Mono,
}

impl Peer {
    pub(super) fn new(kind: PeerKind, same_rack: bool, now: Mono) -> Self {
        Self {
            kind,
            same_rack,
            images: vec![],
            free: 0,
            told_free: 0,
            came_in_vain: None,
            backoff: Backoff::default(),
            used: now,
            both_complete: None,
            rejects: (now, 0),
            next_recheck: now,
        }
    }

    pub(super) const fn is_head(&self) -> bool {
        matches!(self.kind, PeerKind::Head)
    }

    /// A node in our own rack, or in an unknown one.
    pub(super) const fn is_near(&self) -> bool {
        self.same_rack && !self.is_head()
    }

    /// A node in another rack.
    pub(super) const fn is_far(&self) -> bool {
        !self.same_rack && !self.is_head()
    }

    pub(super) fn image(&self, image: ImageIx) -> Option<&PeerImage> {
        self.images.get(usize::from(image.0))?.as_ref()
    }

    pub(super) fn image_mut(&mut self, image: ImageIx) -> Option<&mut PeerImage> {
        self.images.get_mut(usize::from(image.0))?.as_mut()
    }

    pub(super) fn has(&self, image: ImageIx, unit: u32) -> bool {
        self.image(image).is_some_and(|theirs| theirs.has.get(unit))
    }

    /// Whether it is known to hold everything of the image.
    pub(super) fn is_complete(&self, image: ImageIx) -> bool {
        self.image(image).is_some_and(|theirs| theirs.has.is_full())
    }

    /// Makes room for what it holds of an image of `total` units.
    pub(super) fn enter(&mut self, ix: ImageIx, image: &Image, head: bool) {
        let index = usize::from(ix.0);
        if self.images.len() <= index {
            self.images.resize_with(index + 1, || None);
        }
        self.images[index].get_or_insert_with(|| {
            let mut offer = Tree::new(image.total);
            if head {
                image.held.iter().for_each(|unit| offer.set(unit));
            }
            PeerImage {
                has: Bits::new(image.total),
                common: 0,
                offer,
                given: Bits::new(if head { image.total } else { 0 }),
                told: 0,
                told_complete: false,
                repeats: 0,
            }
        });
    }
}

impl Engine {
    pub(super) fn on_message(&mut self, now: Mono, from: PeerIx, message: PeerMessage) {
        if !self.peers.contains_key(&from) {
            return;
        }
        match message {
            PeerMessage::Have { image, ranges } => self.on_have(from, image, &ranges),
            PeerMessage::Lost { image, unit } => self.forget_copy(from, image, unit),
            PeerMessage::Slots { free } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.free = free;
                }
            }
            PeerMessage::Refuted { image, unit } => self.on_refuted(now, from, image, unit),
            PeerMessage::Full => self.turned_away(now, from),
            PeerMessage::Bye => self.left_politely(from),
        }
        self.hungry = true;
    }

    fn on_have(&mut self, from: PeerIx, ix: ImageIx, ranges: &[Run]) {
        let head = self.config.is_head();
        let capped = self.locality.is_capped();
        let mut near_now = vec![];
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        if !is_ascending(ranges, image.total) {
            return self.misbehaved(from, Misdeed::Nonsense);
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let (counted, near, far) = (!peer.is_head(), peer.is_near(), peer.is_far());
        let Some(theirs) = peer.image_mut(ix) else { return };
        for unit in ranges.iter().flat_map(|run| run.iter()) {
            if !theirs.has.set(unit) {
                theirs.repeats += 1;
                continue;
            }
            theirs.common += u32::from(image.held.get(unit));
            if head {
                theirs.offer.clear(unit);
                let was_given = theirs.given.clear(unit);
                if counted {
                    image.confirm(unit, was_given);
                }
            } else {
                if counted {
                    image.picker.gained(unit);
                }
                if near && let Some(holders) = image.near.get_mut(unit as usize) {
                    *holders = holders.saturating_add(1);
                    if capped && *holders == 1 {
                        near_now.push(unit);
                    }
                }
                if image.picker.contains(unit) && !(far && capped && image.is_near(unit)) {
                    theirs.offer.set(unit);
                }
            }
        }
        let flood = theirs.repeats > REPEATS_MAX * u64::from(image.total) + 4096;
        for theirs in self.peers.values_mut().filter(|peer| peer.is_far()).filter_map(|peer| peer.image_mut(ix)) {
            near_now.iter().for_each(|&unit| theirs.offer.clear(unit));
        }
        if flood {
            self.misbehaved(from, Misdeed::Flood);
        } else {
            self.check_covered(ix);
        }
    }

    /// The peer does not hold the unit, or what it holds is bad.
    pub(super) fn forget_copy(&mut self, from: PeerIx, ix: ImageIx, unit: u32) {
        let head = self.config.is_head();
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let (counted, near) = (!peer.is_head(), peer.is_near());
        let Some(theirs) = peer.image_mut(ix) else { return };
        if !theirs.has.clear(unit) {
            return;
        }
        theirs.common -= u32::from(image.held.get(unit));
        if head {
            if image.held.get(unit) {
                theirs.offer.set(unit);
            }
            if counted {
                image.unconfirm(unit);
            }
        } else {
            theirs.offer.clear(unit);
            if counted {
                image.picker.lost(unit);
            }
            if near {
                self.far_again(ix, &[unit]);
            }
        }
    }

    /// A neighbour in our own rack holds these no longer.
    fn far_again(&mut self, ix: ImageIx, units: &[u32]) {
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        for &unit in units {
            let Some(holders) = image.near.get_mut(unit as usize) else { continue };
            *holders = holders.saturating_sub(1);
            if *holders > 0 || !image.picker.contains(unit) {
                continue;
            }
            for peer in self.peers.values_mut().filter(|peer| peer.is_far()) {
                if let Some(theirs) = peer.image_mut(ix).filter(|theirs| theirs.has.get(unit)) {
                    theirs.offer.set(unit);
                }
            }
        }
    }

    /// Takes a peer out of all counts. Its requests are ended by the shell.
    pub(super) fn remove_peer(&mut self, ix: PeerIx) -> Option<Peer> {
        let peer = self.peers.remove(&ix)?;
        let counted = !peer.is_head();
        for (image, theirs) in self.images.iter_mut().zip(&peer.images) {
            let (Some(image), Some(theirs), true) = (image, theirs, counted) else { continue };
            for unit in theirs.has.iter() {
                if self.config.is_head() {
                    image.unconfirm(unit);
                } else {
                    image.picker.lost(unit);
                }
            }
            theirs.given.iter().for_each(|unit| image.picker.lost(unit));
        }
        if peer.is_near() && !self.config.is_head() {
            for (index, theirs) in (0u16..).zip(&peer.images) {
                let held: Vec<u32> = theirs.iter().flat_map(|theirs| theirs.has.iter()).collect();
                self.far_again(ImageIx(index), &held);
            }
        }
        self.drop_serves(ix);
        Some(peer)
    }

    /// A unit became wanted (`true`), or is no longer.
    pub(super) fn set_wanted(&mut self, ix: ImageIx, unit: u32, wanted: bool) {
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        if image.picker.contains(unit) == wanted {
            return;
        }
        if wanted {
            image.picker.insert(unit);
        } else {
            image.picker.remove(unit);
        }
        let beyond = self.locality.is_capped() && image.is_near(unit);
        for peer in self.peers.values_mut() {
            let hidden = beyond && peer.is_far();
            let Some(theirs) = peer.image_mut(ix) else { continue };
            if !wanted {
                theirs.offer.clear(unit);
            } else if theirs.has.get(unit) && !hidden {
                theirs.offer.set(unit);
            }
        }
    }

    fn on_refuted(&mut self, now: Mono, from: PeerIx, ix: ImageIx, unit: u32) {
        let Some(image) = self.images.get(usize::from(ix.0)).and_then(Option::as_ref) else { return };
        let held = image.held.get(unit);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if held && peer.next_recheck <= now && self.next_recheck <= now {
            peer.next_recheck = now + RECHECK_EACH;
            self.next_recheck = now + RECHECK_EACH / 8;
            self.out.push_back(Output::Recheck { image: ix, unit });
        }
    }

    /// Tells of a misdeed and closes, except for corrupt units: those cost the peer a backoff.
    pub(super) fn misbehaved(&mut self, peer: PeerIx, what: Misdeed) {
        self.out.push_back(Output::Event(Event::Misbehaved { peer, what }));
        if !matches!(what, Misdeed::Corrupt { .. }) {
            self.close(peer, CloseReason::Misbehaved);
        }
    }
}

fn is_ascending(ranges: &[Run], total: u32) -> bool {
    let mut least = 0;
    ranges.len() <= HAVE_RANGES_MAX
        && ranges.iter().all(|run| {
            let fits =
                run.first >= least && run.count > 0 && run.first.checked_add(run.count).is_some_and(|end| end <= total);
            least = run.end();
            fits
        })
}
