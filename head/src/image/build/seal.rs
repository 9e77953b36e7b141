//! The blob is cut and hashed, and the manifest signed.

use std::fs::{self, File};
use std::path::Path;

use wulfpack_shared::id::{Hash, ImageName};
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::image::{Compression, Header, KernelEntry, Part, SignedHeader, TableBuilder, cut};
use wulfpack_shared::wire;

use super::CREATED_BY;
use super::run::write;
use crate::image::error::Doing as _;
use crate::image::library::{BLOB, HEADER, TABLE};
use crate::image::{ImageError, Progress};

/// What the manifest says beside what is read from the blob.
pub(super) struct Sealing<'a> {
    pub(super) name: &'a ImageName,
    pub(super) compression: Compression,
    pub(super) unpacked_len: u64,
    pub(super) kernels: Vec<KernelEntry>,
}

impl Sealing<'_> {
    /// Reads the blob in `dir` once; writes the chunk table and the signed header beside it.
    pub(super) fn seal(
        self,
        dir: &Path,
        cluster: &SecretKey,
        progress: &dyn Progress,
    ) -> Result<SignedHeader, ImageError> {
        let path = dir.join(BLOB);
        let blob = File::open(&path).doing("read", &path)?;
        let total = fs::metadata(&path).doing("read", &path)?.len();
        progress.stage("Cutting and hashing", Some(total));
        let (mut table, mut hasher, mut len) = (TableBuilder::default(), blake3::Hasher::new(), 0u64);
        cut(blob, |chunk| {
            hasher.update(&chunk);
            table.push(&chunk);
            len += chunk.len() as u64;
            progress.set(len);
        })
        .doing("read", &path)?;
        let (table, chunks, pages) = table.finish()?;
        write(&dir.join(TABLE), &table)?;
        let part = Part { hash: Hash(*hasher.finalize().as_bytes()), len };
        let Self { name, compression, unpacked_len, kernels } = self;
        let created_by = CREATED_BY.to_owned();
        let header = Header::new(name.clone(), part, compression, unpacked_len, chunks, pages, kernels, created_by);
        let signed = SignedHeader::sign(&header, cluster)?;
        write(&dir.join(HEADER), &wire::encode(&signed))?;
        Ok(signed)
    }
}
