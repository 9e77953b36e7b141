//! Where the units of one image lie: first the pages of the chunk table, then the chunks of the blob.
//!
//! Serving reads with `pread` into owned buffers. Nothing is mapped into memory: a page that cannot be read would be a signal
//! instead of an error, and a file that shrinks would be one too.
//!
//! * `geometry.rs`: how long each unit is and what its hash must be.
//! * `seed.rs`: complete files, read-only: a head's, or a node's after its boot. Each unit is checked when it is first read.
//! * `fetch.rs`: files that are being filled. `donors.rs`: files of other images, whose chunks need not be fetched.

mod donors;
mod fetch;
mod files;
mod geometry;
mod seed;

#[cfg(test)]
mod tests;

pub use donors::{DonorUse, Donors};
pub use fetch::{BLOB_FILE, FetchStore, HEADER_FILE, TABLE_FILE};
pub use geometry::Geometry;
pub use seed::SeedStore;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::image::{Run, TableError, Verified};

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system (or its quota) is full.
    #[error("no space left for {path}: {source}")]
    Full {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file could not be read or written, or is shorter than it should be.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The files are not those of this image.
    #[error("{path} is not the {what} of this image: {why}")]
    Foreign {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The pages have the right hashes and are no table all the same: the header that was signed is wrong.
    #[error("the image cannot be used: {0}")]
    Table(#[from] TableError),
    /// The image has no such unit, or its place is not known before the table is complete.
    #[error("unit {unit} is not known in this image (yet)")]
    NoUnit {
        /// Which.
        unit: u32,
    },
    /// The bytes have another length than the unit.
    #[error("unit {unit} has {expected} bytes, not {found}")]
    Length {
        /// Which.
        unit: u32,
        /// What the manifest says.
        expected: u32,
        /// What was handed in.
        found: usize,
    },
    /// The bytes of a unit are not what the manifest says: memory or disk went bad, or somebody wrote there.
    #[error("unit {unit} in {path} is not what the manifest says: this machine's memory or disk is the suspect")]
    Rotten {
        /// Which.
        unit: u32,
        /// The file.
        path: PathBuf,
    },
    /// Nothing can be written: the store is complete, or never was writable.
    #[error("{path} is complete and no longer written to")]
    Sealed {
        /// The file.
        path: PathBuf,
    },
}

impl StoreError {
    fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Io { what, path, source },
        }
    }
}

/// Holds the units of one image. All calls block on files: they are made off the reactor.
pub trait UnitStore: Send + Sync + core::fmt::Debug {
    /// Lengths and hashes.
    fn geometry(&self) -> &Geometry;

    /// The bytes of a unit. A store that was not there when the unit was verified checks it when it is first read.
    ///
    /// # Errors
    /// No such unit, the file cannot be read that far, or its bytes are not what they should be.
    fn read(&self, unit: u32) -> Result<Bytes, StoreError>;

    /// Stores a unit.
    ///
    /// # Errors
    /// No such unit, another length, no space, or sealed.
    fn write(&self, unit: u32, bytes: &Verified) -> Result<(), StoreError>;

    /// Once the table is known: stores the chunks that this member has already in another image, each hashed again, and says which.
    ///
    /// # Errors
    /// They could not be written.
    fn take_over(&self) -> Result<Vec<Run>, StoreError> {
        Ok(Vec::new())
    }

    /// Flushes, and closes every descriptor that could write: a loop device or a read-only remount may follow. Harmless if repeated.
    ///
    /// # Errors
    /// The flush failed.
    fn seal(&self) -> Result<(), StoreError>;

    /// Whether nothing can be written any more, not even a unit that was lost.
    fn is_sealed(&self) -> bool;
}
