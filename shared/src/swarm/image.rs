//! What the engine knows of one image: which units it holds, which are under way, how many copies it knows of.

use std::sync::Arc;

use super::PeerIx;
use super::bits::Bits;
use super::offer::Offer;
use super::peers::PeerImage;
use super::picker::Picker;
use crate::image::{Run, Units};
use crate::limits::{CHUNK_MAX, CHUNKS_MAX, RUN_MAX, RUN_UNITS_MAX};
use crate::time::Mono;

/// No run counts for more than so many of usual length.
const TIMES_MAX: u32 = 1024;

/// The state of one image.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) units: Units,
    pub(super) total: u32,
    lens: Option<Arc<[u32]>>,
    /// For each chunk the cell it lies in: consecutive chunks of one run's length. Runs never cross cells, so that what is
    /// left over of one run is not the start of another.
    cells: Vec<u32>,
    pub(super) run_len: u64,
    pub(super) held: Bits,
    /// Units in the order in which they became ours; each peer has been told a prefix of it.
    pub(super) log: Vec<u32>,
    /// Requests under way that will bring the unit.
    pub(super) pending: Vec<u8>,
    /// On a node: units wanted and not under way, by copies at other nodes. On a head: units held, by copies outside.
    pub(super) picker: Picker,
    /// On a node: the units in the picker.
    wanted: Bits,
    /// Changes whenever a peer that had nothing to offer may have something without having said so.
    pub(super) epoch: u64,
    /// On a node: neighbours in its own rack that hold the unit, and the units of which there are any.
    near: Vec<u8>,
    held_near: Bits,
    /// On a head: live nodes that said they hold the unit.
    pub(super) confirmed: Vec<u16>,
    /// On a head: units held by fewer than two live nodes.
    pub(super) thin: u32,
    /// On a head: units held by no live node that is connected.
    pub(super) bare: u32,
    pub(super) covered: bool,
    /// On a head: until when somebody who left in peace is expected to serve all of it.
    pub(super) outside_until: Mono,
    /// On a head: who they are, each until when; the first two are enough to know.
    pub(super) outside: Vec<(PeerIx, Mono)>,
    pub(super) pages_said: bool,
    pub(super) complete_said: bool,
    /// The store takes nothing more: what was lost since it was complete stays lost.
    pub(super) sealed: bool,
}

impl Image {
    /// `None` if the layout is beyond the limits.
    pub(super) fn new(units: Units, head: bool) -> Option<Self> {
        let total = units.pages.checked_add(units.chunks)?;
        if units.chunks > CHUNKS_MAX || units.pages > CHUNKS_MAX || total == 0 {
            return None;
        }
        Some(Self {
            units,
            total,
            lens: None,
            cells: vec![],
            run_len: (units.blob_len / 1024).min(RUN_MAX),
            held: Bits::new(total),
            log: vec![],
            pending: vec![0; total as usize],
            picker: Picker::new(total),
            wanted: Bits::new(if head { 0 } else { total }),
            epoch: 1,
            near: if head { vec![] } else { vec![0; total as usize] },
            held_near: Bits::new(if head { 0 } else { total }),
            confirmed: if head { vec![0; total as usize] } else { vec![] },
            thin: total,
            bare: total,
            covered: false,
            outside_until: Mono::ZERO,
            outside: vec![],
            pages_said: false,
            complete_said: false,
            sealed: false,
        })
    }

    /// Takes the chunks' lengths over. False if they are not this image's, or known already.
    pub(super) fn set_table(&mut self, lens: Arc<[u32]>) -> bool {
        if self.lens.is_some() || lens.len() != self.units.chunks as usize {
            return false;
        }
        let (mut cell, mut bytes, mut count) = (0u32, 0u64, 0u32);
        self.cells.reserve_exact(lens.len());
        for &len in lens.iter() {
            if count > 0 && (bytes + u64::from(len) > self.run_len || count == RUN_UNITS_MAX) {
                (cell, bytes, count) = (cell + 1, 0, 0);
            }
            bytes += u64::from(len);
            count += 1;
            self.cells.push(cell);
        }
        self.lens = Some(lens);
        true
    }

    /// (A node.) A unit became wanted (`true`), or is no longer.
    pub(super) fn set_wanted(&mut self, unit: u32, wanted: bool) {
        if wanted && self.wanted.set(unit) {
            self.picker.insert(unit);
            self.epoch += 1;
        } else if !wanted && self.wanted.clear(unit) {
            self.picker.remove(unit);
        }
    }

    pub(super) fn wants(&self, unit: u32) -> bool {
        self.wanted.get(unit)
    }

    /// (A node.) One more neighbour in our own rack holds the unit, or one less.
    pub(super) fn near_holder(&mut self, unit: u32, more: bool) {
        let Some(holders) = self.near.get_mut(unit as usize) else { return };
        *holders = if more { holders.saturating_add(1) } else { holders.saturating_sub(1) };
        if *holders > 0 {
            self.held_near.set(unit);
        } else if self.held_near.clear(unit) {
            self.epoch += 1;
        }
    }

    /// (A node.) Nothing is known of our own rack any more.
    pub(super) fn forget_near(&mut self) {
        self.near.fill(0);
        self.held_near = Bits::new(self.wanted.len());
        self.epoch += 1;
    }

    /// What a peer offers us, a node; `beyond`: not what our own rack holds.
    pub(super) fn offer_of<'a>(&'a self, theirs: &'a PeerImage, beyond: bool) -> Offer<'a> {
        Offer::to_node(&theirs.has, &self.wanted, beyond.then_some(&self.held_near))
    }

    /// What we, a head, offer a peer.
    pub(super) fn offer_to<'a>(&'a self, theirs: &'a PeerImage) -> Offer<'a> {
        Offer::of_head(&self.held, &theirs.has, &theirs.given)
    }

    /// Whether a peer offers us anything. Remembered until that may have changed.
    pub(super) fn has_offer(&self, theirs: &mut PeerImage, beyond: bool) -> bool {
        if theirs.barren == self.epoch {
            return false;
        }
        match self.offer_of(theirs, beyond).next_around(theirs.hint) {
            Some(unit) => theirs.hint = unit,
            None => theirs.barren = self.epoch,
        }
        theirs.barren != self.epoch
    }

    pub(super) const fn has_table(&self) -> bool {
        self.lens.is_some()
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.held.is_full()
    }

    /// Whether it wants nothing more of anybody.
    pub(super) const fn is_done(&self) -> bool {
        self.is_complete() || self.sealed
    }

    /// Whether the unit is a page of the chunk table.
    pub(super) const fn is_page(&self, unit: u32) -> bool {
        unit < self.units.pages
    }

    /// Whether every page is held.
    pub(super) fn pages_held(&self) -> bool {
        (0..self.units.pages).all(|page| self.held.get(page))
    }

    /// Bytes of a unit; 0 while the table is not known.
    pub(super) fn len_of(&self, unit: u32) -> u32 {
        match self.units.chunk(unit) {
            None => self.units.page_len(unit),
            Some(chunk) => self.lens.as_ref().and_then(|lens| lens.get(chunk as usize)).copied().unwrap_or(0),
        }
    }

    /// Bytes of a run.
    pub(super) fn bytes_of(&self, run: Run) -> u64 {
        run.iter().take(RUN_UNITS_MAX as usize).map(|unit| u64::from(self.len_of(unit))).sum()
    }

    /// How many times a run's usual length this one is, rounded up: a single chunk can be much longer than a run of a small image.
    pub(super) fn times(&self, run: Option<Run>) -> u32 {
        let bytes = run.map_or(u64::from(CHUNK_MAX), |run| self.bytes_of(run));
        u32::try_from(bytes.div_ceil(self.run_len.max(1))).unwrap_or(u32::MAX).clamp(1, TIMES_MAX)
    }

    /// Whether a peer may name this run at all: in range, not longer than a request may be.
    pub(super) fn is_sound(&self, run: Run) -> bool {
        run.count > 0
            && run.count <= RUN_UNITS_MAX
            && run.first.checked_add(run.count).is_some_and(|end| end <= self.total)
            && self.bytes_of(run) <= RUN_MAX
    }

    /// Whether every unit of a sound run is held.
    pub(super) fn holds(&self, run: Run) -> bool {
        run.iter().all(|unit| self.held.get(unit))
    }

    /// The longest run around `unit` within its cell and `max_bytes` that `fits`; a page stands alone.
    pub(super) fn run_around(&self, unit: u32, max_bytes: u64, fits: impl Fn(u32) -> bool) -> Run {
        let Some(cell) = self.units.chunk(unit).and_then(|chunk| self.cells.get(chunk as usize)) else {
            return Run::one(unit);
        };
        let joins = |unit: u32| {
            let chunk = self.units.chunk(unit)?;
            (self.cells.get(chunk as usize) == Some(cell) && fits(unit)).then(|| u64::from(self.len_of(unit)))
        };
        let (mut run, mut bytes) = (Run::one(unit), u64::from(self.len_of(unit)));
        while let Some(len) = run.first.checked_sub(1).and_then(joins)
            && bytes + len <= max_bytes
        {
            run = Run { first: run.first - 1, count: run.count + 1 };
            bytes += len;
        }
        while let Some(len) = joins(run.end())
            && bytes + len <= max_bytes
        {
            run.count += 1;
            bytes += len;
        }
        run
    }
}
