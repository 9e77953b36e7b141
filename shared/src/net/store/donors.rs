//! Files that may hold chunks of an image that is about to be fetched: an older version, a sibling, a cache. Nothing in them is
//! trusted: a chunk counts only if its bytes, read again, have the hash that the new table says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreError;
use super::files::Named;
use crate::id::Hash;
use crate::image::{Verified, cut, verify};

/// Where a chunk lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: usize,
    offset: u64,
    len: u32,
}

/// A file and how it did.
#[derive(Debug)]
struct Donor {
    named: Named,
    used: AtomicU64,
    bad: AtomicU64,
}

/// What became of one file of donors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DonorUse {
    /// The file.
    pub path: PathBuf,
    /// Chunks that were taken over from it.
    pub used: u64,
    /// Chunks that were not what they should be, or could not be read.
    pub bad: u64,
}

/// Chunks by their hash.
#[derive(Debug, Default)]
pub struct Donors {
    files: Vec<Donor>,
    chunks: BTreeMap<Hash, Place>,
}

impl Donors {
    /// Cuts and hashes these files.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn index(paths: Vec<PathBuf>) -> Result<Self, StoreError> {
        let mut donors = Self::default();
        for path in paths {
            let named = Named::open(path)?;
            let (file, mut offset) = (donors.files.len(), 0);
            let cutting = cut(&named.file, |chunk| {
                let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                donors.chunks.entry(Hash::of(&chunk)).or_insert(Place { file, offset, len });
                offset += u64::from(len);
            });
            cutting.map_err(|error| StoreError::io("read", &named.path, error))?;
            donors.push(named);
        }
        Ok(donors)
    }

    fn push(&mut self, named: Named) {
        self.files.push(Donor { named, used: AtomicU64::new(0), bad: AtomicU64::new(0) });
    }

    /// Adds a file that holds these chunks one after the other, as somebody says who is not trusted either.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn add(&mut self, path: PathBuf, chunks: impl IntoIterator<Item = (Hash, u32)>) -> Result<(), StoreError> {
        let (named, file, mut offset) = (Named::open(path)?, self.files.len(), 0);
        for (hash, len) in chunks {
            self.chunks.entry(hash).or_insert(Place { file, offset, len });
            offset += u64::from(len);
        }
        self.push(named);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether a file is said to hold a chunk with this hash.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.chunks.contains_key(hash)
    }

    /// What became of the files, in the order in which they were added.
    pub fn uses(&self) -> Vec<DonorUse> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let told = |donor: &Donor| DonorUse {
            path: donor.named.path.clone(),
            used: count(&donor.used),
            bad: count(&donor.bad),
        };
        self.files.iter().map(told).collect()
    }

    /// The chunk with this hash and length, if a file still holds it.
    pub(super) fn read(&self, hash: &Hash, len: u32) -> Option<Verified> {
        let place = self.chunks.get(hash).filter(|place| place.len == len)?;
        let donor = self.files.get(place.file)?;
        // A file that changes or goes away meanwhile costs its chunks, no more.
        let bytes = donor.named.read(place.offset, len as usize).ok();
        let verified = bytes.and_then(|bytes| verify(hash, bytes).ok());
        let counter = if verified.is_some() { &donor.used } else { &donor.bad };
        counter.fetch_add(1, Ordering::Relaxed);
        verified
    }
}
