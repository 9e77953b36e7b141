//! An image version: a signed manifest header, the pages of its chunk table, and the chunks of its blob.
//!
//! The parts travel alone and each is checked alone: the header by the cluster's signature, a page by its hash in the
//! header, a chunk by its hash in the table. See `manifest.rs` for the header, `table.rs` for the pages.

mod acls;
mod chunker;
mod manifest;
mod table;
mod units;
mod verify;

pub use acls::{ACLS_FILE, ACLS_MAX, FileAcls, decode_acls, encode_acls};
pub use chunker::{Chunker, cut};
pub use manifest::{Compression, Header, HeaderError, KernelEntry, Part, SignedHeader};
pub use table::{ChunkEntry, ChunkTable, ENTRY_LEN, TableBuilder, TableError};
pub use units::{Run, Units};
pub use verify::{Corrupt, Verified, verify};
