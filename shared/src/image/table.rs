//! The chunk table: hash and length of each chunk, in blob order, cut into pages of [`PAGE_LEN`] bytes that are hashed in
//! the header. An entry is 32 bytes of BLAKE3 and 4 bytes of little-endian length; pages cut entries where they fall.

use super::{Header, Units};
use crate::id::Hash;
use crate::limits::{CHUNKS_MAX, PAGE_LEN};

/// Bytes of one entry.
pub const ENTRY_LEN: usize = 36;

/// One chunk of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// BLAKE3 of its bytes.
    pub hash: Hash,
    /// Its length in bytes.
    pub len: u32,
    /// Where it begins in the blob.
    pub offset: u64,
}

/// Why the pages, though each has its right hash, are not a table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The pages together have the wrong length.
    #[error("the chunk table has {found} bytes, its header says {expected}")]
    Length {
        /// Bytes in all pages.
        found: u64,
        /// Bytes that the header's chunk count needs.
        expected: u64,
    },
    /// A chunk is empty or larger than the chunker's maximum.
    #[error("chunk {chunk} of the table has {len} bytes, which the chunker cannot have cut")]
    ChunkLength {
        /// Index in the table.
        chunk: u32,
        /// Its declared length.
        len: u32,
    },
    /// The chunks together are not the blob.
    #[error("the chunks of the table have {found} bytes in all, the blob has {expected}")]
    Total {
        /// Sum of the chunks.
        found: u64,
        /// Length of the blob in the header.
        expected: u64,
    },
    /// More chunks than an image may have.
    #[error("the image has more than {CHUNKS_MAX} chunks: it is too large")]
    TooMany,
}

/// A complete, consistent table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkTable {
    entries: Vec<ChunkEntry>,
}

impl ChunkTable {
    /// Reads the table from its pages, joined.
    pub fn parse(header: &Header, bytes: &[u8]) -> Result<Self, TableError> {
        let units = Units::of(header);
        if bytes.len() as u64 != units.table_len {
            return Err(TableError::Length { found: bytes.len() as u64, expected: units.table_len });
        }
        let mut entries = Vec::with_capacity(header.chunk_count as usize);
        let mut offset = 0u64;
        for (chunk, entry) in (0u32..).zip(bytes.chunks_exact(ENTRY_LEN)) {
            let (hash, len) = entry.split_at(32);
            let hash = Hash(hash.try_into().unwrap_or_default());
            let len = u32::from_le_bytes(len.try_into().unwrap_or_default());
            if len == 0 || len > header.chunker.max {
                return Err(TableError::ChunkLength { chunk, len });
            }
            entries.push(ChunkEntry { hash, len, offset });
            offset += u64::from(len);
        }
        if offset != header.blob.len {
            return Err(TableError::Total { found: offset, expected: header.blob.len });
        }
        Ok(Self { entries })
    }

    /// The entries in blob order.
    pub fn entries(&self) -> &[ChunkEntry] {
        &self.entries
    }

    /// The entry with this index.
    pub fn get(&self, chunk: u32) -> Option<&ChunkEntry> {
        self.entries.get(chunk as usize)
    }
}

/// Collects entries while a blob is cut.
#[derive(Debug, Default)]
pub struct TableBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl TableBuilder {
    /// Adds the next chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(&Hash::of(chunk).0);
        self.bytes.extend_from_slice(&u32::try_from(chunk.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.count += 1;
    }

    /// The table's bytes, its number of chunks, and the hashes of its pages.
    pub fn finish(self) -> Result<(Vec<u8>, u32, Vec<Hash>), TableError> {
        if self.count > CHUNKS_MAX {
            return Err(TableError::TooMany);
        }
        let pages = self.bytes.chunks(PAGE_LEN as usize).map(Hash::of).collect();
        Ok((self.bytes, self.count, pages))
    }
}
