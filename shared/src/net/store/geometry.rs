//! How long each unit is, where it lies, and what its hash must be.

use std::sync::OnceLock;

use super::StoreError;
use crate::id::Hash;
use crate::image::{ChunkTable, Header, Run, Units};
use crate::limits::PAGE_LEN;

/// The layout of one image; chunks are known once the table was set.
#[derive(Debug)]
pub struct Geometry {
    header: Header,
    units: Units,
    table: OnceLock<ChunkTable>,
}

impl Geometry {
    /// Of the image with this header; its chunks are not known yet.
    pub fn new(header: Header) -> Self {
        let units = Units::of(&header);
        Self { header, units, table: OnceLock::new() }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The layout.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// The table, once it is complete.
    pub fn table(&self) -> Option<&ChunkTable> {
        self.table.get()
    }

    /// Makes the chunks known. A second table is the same one, because its pages have the same hashes.
    pub fn set_table(&self, table: ChunkTable) {
        drop(self.table.set(table));
    }

    /// Bytes of a unit, if it is known.
    pub fn len(&self, unit: u32) -> Option<u32> {
        match self.units.chunk(unit) {
            None => Some(self.units.page_len(unit)),
            Some(chunk) => self.table()?.get(chunk).map(|entry| entry.len),
        }
    }

    /// What the bytes of a unit must hash to, if it is known.
    pub fn hash(&self, unit: u32) -> Option<Hash> {
        match self.units.chunk(unit) {
            None => self.header.pages.get(unit as usize).copied(),
            Some(chunk) => self.table()?.get(chunk).map(|entry| entry.hash),
        }
    }

    /// Bytes of a run, if all its units are known.
    pub fn run_len(&self, run: Run) -> Option<u64> {
        (run.end() <= self.units.total()).then_some(())?;
        run.iter().map(|unit| self.len(unit).map(u64::from)).sum()
    }

    /// Offset of a unit in its own file (table or blob), and its length.
    pub(super) fn place(&self, unit: u32) -> Result<Place, StoreError> {
        let unknown = StoreError::NoUnit { unit };
        match self.units.chunk(unit) {
            None => {
                let offset = u64::from(unit) * u64::from(PAGE_LEN);
                Ok(Place { in_table: true, offset, len: self.units.page_len(unit) })
            }
            Some(chunk) => {
                let entry = self.table().and_then(|table| table.get(chunk)).ok_or(unknown)?;
                Ok(Place { in_table: false, offset: entry.offset, len: entry.len })
            }
        }
    }
}

/// Where a unit lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// In the table's file, not in the blob.
    pub in_table: bool,
    /// Where it begins there.
    pub offset: u64,
    /// Its length.
    pub len: u32,
}
