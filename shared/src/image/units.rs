//! Units: what the swarm requests, stores and announces by index. The pages of the chunk table come first, then the chunks.

use serde::{Deserialize, Serialize};

use super::Header;
use crate::limits::PAGE_LEN;

/// Consecutive units `first .. first + count` of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run {
    /// The first unit.
    pub first: u32,
    /// How many; never 0 in a request.
    pub count: u32,
}

impl Run {
    /// One unit.
    pub const fn one(unit: u32) -> Self {
        Self { first: unit, count: 1 }
    }

    /// One past the last unit; saturates, so that hostile values do no harm.
    pub const fn end(self) -> u32 {
        self.first.saturating_add(self.count)
    }

    /// Whether `unit` lies in it.
    pub const fn contains(self, unit: u32) -> bool {
        unit >= self.first && unit < self.end()
    }

    /// The units, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        self.first..self.end()
    }
}

/// How the units of one image are laid out: pages `0 .. pages`, then chunks `pages .. pages + chunks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Units {
    /// Pages of the chunk table.
    pub pages: u32,
    /// Chunks of the blob.
    pub chunks: u32,
    /// Bytes of the whole chunk table.
    pub table_len: u64,
    /// Bytes of the blob.
    pub blob_len: u64,
}

impl Units {
    /// The layout that a header declares.
    pub fn of(header: &Header) -> Self {
        let table_len = u64::from(header.chunk_count) * super::ENTRY_LEN as u64;
        let pages = u32::try_from(header.pages.len()).unwrap_or(u32::MAX);
        Self { pages, chunks: header.chunk_count, table_len, blob_len: header.blob.len }
    }

    /// How many units there are.
    pub const fn total(&self) -> u32 {
        self.pages + self.chunks
    }

    /// The unit of the chunk with this index in the table.
    pub const fn of_chunk(&self, chunk: u32) -> u32 {
        self.pages + chunk
    }

    /// The index in the table of the chunk that is this unit; `None` for a page.
    pub const fn chunk(&self, unit: u32) -> Option<u32> {
        unit.checked_sub(self.pages)
    }

    /// Bytes of the table page `page`.
    pub fn page_len(&self, page: u32) -> u32 {
        let start = u64::from(page) * u64::from(PAGE_LEN);
        u32::try_from(self.table_len.saturating_sub(start).min(u64::from(PAGE_LEN))).unwrap_or(PAGE_LEN)
    }
}
