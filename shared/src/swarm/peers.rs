//! The connected peers: what each holds, and what it says.

use core::time::Duration;

use super::bits::Bits;
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
    /// The image's epoch in which it was found to offer nothing; and where something was found last.
    pub(super) barren: u64,
    pub(super) hint: u32,
    /// On a head: units sent to it that it has not announced yet; each counts as a copy.
    pub(super) given: Bits,
    /// How much of our log it was told.
    pub(super) told: usize,
    pub(super) told_complete: bool,
    repeats: u64,
}

impl PeerImage {
    /// Whether it lacks something, and has something.
    pub(super) const fn is_open(&self) -> bool {
        !self.has.is_full() && self.has.ones() > 0
    }
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
    /// It failed: do not ask it before this.
    pub(super) backoff: Backoff,
    /// It missed a deadline: do not ask it before this, unless there is nobody else.
    pub(super) late: Backoff,
    /// It takes next to nothing of what it is sent: no slots for it before this.
    pub(super) crawls: Backoff,
    /// (On a head.) When anything last came of it; and whether what it holds does not count, as it has been silent since.
    pub(super) heard: Mono,
    pub(super) discounted: bool,
    /// Last request, either way.
    pub(super) used: Mono,
    /// Since when both have had everything.
    pub(super) both_complete: Option<Mono>,
    pub(super) rejects: (Mono, u32),
    /// It serves nobody.
    silent: bool,
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
            late: Backoff::default(),
            crawls: Backoff::default(),
            heard: now,
            discounted: false,
            used: now,
            both_complete: None,
            rejects: (now, 0),
            silent: false,
            next_recheck: now,
        }
    }

    pub(super) const fn is_head(&self) -> bool {
        matches!(self.kind, PeerKind::Head)
    }

    /// Whether what it holds is a copy that others can have.
    pub(super) const fn counts(&self) -> bool {
        !self.is_head() && !self.silent
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

    /// Whether it may be asked: it neither failed nor was late just now.
    pub(super) const fn is_usable(&self, now: Mono) -> bool {
        self.backoff.is_over(now) && self.late.is_over(now)
    }

    /// Whether it offers us, a node, anything; `capped`: flows from other racks are limited.
    pub(super) fn offers(&mut self, images: &[Option<Image>], capped: bool) -> bool {
        self.first_offered(images, capped).is_some()
    }

    /// The first image of which it offers us something.
    pub(super) fn first_offered(&mut self, images: &[Option<Image>], capped: bool) -> Option<usize> {
        let beyond = capped && self.is_far();
        images.iter().zip(&mut self.images).position(|(ours, theirs)| {
            ours.as_ref().zip(theirs.as_mut()).is_some_and(|(ours, theirs)| ours.has_offer(theirs, beyond))
        })
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
        self.images[index].get_or_insert_with(|| PeerImage {
            has: Bits::new(image.total),
            common: 0,
            barren: 0,
            hint: 0,
            given: Bits::new(if head { image.total } else { 0 }),
            told: 0,
            told_complete: false,
            repeats: 0,
        });
    }
}

impl Engine {
    pub(super) fn on_message(&mut self, now: Mono, from: PeerIx, message: PeerMessage) {
        if !self.peers.contains_key(&from) {
            return;
        }
        self.heard_of(now, from);
        match message {
            PeerMessage::Have { image, ranges } => self.on_have(from, image, &ranges),
            PeerMessage::Lost { image, unit } => self.forget_copy(from, image, unit),
            PeerMessage::Slots { free } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.free = free;
                    self.hungry |= free > 0;
                }
            }
            PeerMessage::Refuted { image, unit } => self.on_refuted(now, from, image, unit),
            PeerMessage::Full => self.turned_away(now, from),
            PeerMessage::Bye => self.left_politely(from),
            PeerMessage::ServesNobody => self.on_silent(from),
        }
    }

    fn on_have(&mut self, from: PeerIx, ix: ImageIx, ranges: &[Run]) {
        let (head, capped) = (self.config.is_head(), self.locality.is_capped());
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        if !is_ascending(ranges, image.total) {
            return self.misbehaved(from, Misdeed::Nonsense);
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let (counted, near) = (peer.counts(), capped && peer.is_near());
        let Some(theirs) = peer.image_mut(ix) else { return };
        let mut offers = false;
        for unit in ranges.iter().flat_map(|run| run.iter()) {
            if !theirs.has.set(unit) {
                theirs.repeats += 1;
                continue;
            }
            theirs.common += u32::from(image.held.get(unit));
            if head {
                let was_given = theirs.given.clear(unit);
                if counted {
                    image.confirm(unit, was_given);
                } else if was_given {
                    image.picker.lost(unit);
                }
                continue;
            }
            offers |= image.wants(unit);
            if counted {
                image.picker.gained(unit);
            }
            if near {
                image.near_holder(unit, true);
            }
        }
        if offers {
            theirs.barren = 0;
            self.hungry = true;
        }
        if theirs.repeats > REPEATS_MAX * u64::from(image.total) + 4096 {
            self.misbehaved(from, Misdeed::Flood);
        } else if head {
            self.check_covered(ix);
        }
    }

    /// The peer serves nobody. Whoever says so after it has announced something is not heard: that was counted.
    fn on_silent(&mut self, from: PeerIx) {
        if let Some(peer) = self.peers.get_mut(&from)
            && peer.images.iter().flatten().all(|theirs| theirs.has.ones() == 0)
        {
            peer.silent = true;
        }
    }

    /// The peer does not hold the unit, or what it holds is bad.
    pub(super) fn forget_copy(&mut self, from: PeerIx, ix: ImageIx, unit: u32) {
        let Some(image) = self.images.get_mut(usize::from(ix.0)).and_then(Option::as_mut) else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let (counted, near) = (peer.counts(), self.locality.is_capped() && peer.is_near());
        let Some(theirs) = peer.image_mut(ix) else { return };
        if !theirs.has.clear(unit) {
            return;
        }
        theirs.common -= u32::from(image.held.get(unit));
        if self.config.is_head() {
            if counted {
                image.unconfirm(unit);
            }
            return;
        }
        if counted {
            image.picker.lost(unit);
        }
        if near {
            image.near_holder(unit, false);
        }
    }

    /// Takes a peer out of all counts. Its requests are ended by the shell.
    pub(super) fn remove_peer(&mut self, ix: PeerIx) -> Option<Peer> {
        let peer = self.peers.remove(&ix)?;
        let (counted, head) = (peer.counts(), self.config.is_head());
        let near = counted && self.locality.is_capped() && peer.is_near();
        for (image, theirs) in self.images.iter_mut().zip(&peer.images) {
            let (Some(image), Some(theirs)) = (image, theirs) else { continue };
            for unit in theirs.has.iter().filter(|_| counted) {
                if head && !peer.discounted {
                    image.unconfirm(unit);
                }
                if head {
                    continue;
                }
                image.picker.lost(unit);
                if near {
                    image.near_holder(unit, false);
                }
            }
            theirs.given.iter().for_each(|unit| image.picker.lost(unit));
        }
        self.drop_serves(ix);
        Some(peer)
    }

    /// A unit became wanted (`true`), or is no longer.
    pub(super) fn set_wanted(&mut self, ix: ImageIx, unit: u32, wanted: bool) {
        if let Some(image) = self.image_mut(ix) {
            image.set_wanted(unit, wanted);
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
