//! The manifest header: everything a node must know of an image version before it asks for its first byte.

use serde::{Deserialize, Serialize};

use super::{Chunker, ENTRY_LEN};
use crate::id::{Hash, ImageName, PublicKey, VersionId};
use crate::identity::{SecretKey, Signature, SignatureError};
use crate::limits::{CHUNKS_MAX, HEADER_MAX, KERNELS_MAX, PAGE_LEN};
use crate::wire;

/// Format of the header that this version writes; readers refuse any other.
const FORMAT: u16 = 1;
/// Separates header signatures from every other use of the cluster key.
const DOMAIN: &str = "wulfpack image header v1";

/// A file that belongs to an image version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// BLAKE3 of the whole file.
    pub hash: Hash,
    /// Its length in bytes.
    pub len: u64,
}

impl Part {
    /// The part that `bytes` is.
    pub fn of(bytes: &[u8]) -> Self {
        Self { hash: Hash::of(bytes), len: bytes.len() as u64 }
    }
}

/// How the squashfs blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// zlib, which every kernel with squashfs reads.
    Gzip,
    /// Zstandard, where the kernel has `CONFIG_SQUASHFS_ZSTD`.
    Zstd,
    /// XZ, where the kernel has `CONFIG_SQUASHFS_XZ` and nothing better.
    Xz,
}

/// One kernel of an image and the initramfs that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelEntry {
    /// Its release, as `uname -r` prints it and `/lib/modules` names it.
    pub version: String,
    /// The kernel itself.
    pub kernel: Part,
    /// Modules and firmware that the agent needs to reach the network and to mount the root.
    pub modules: Part,
    /// Kernel arguments where the registry says nothing.
    pub default_args: Vec<String>,
}

/// What the cluster key signs of an image version.
///
/// It holds nothing that two builds of the same tree could differ in, no time and no host: the same tree is the same version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: u16,
    /// The image this is a version of.
    pub name: ImageName,
    /// The squashfs blob.
    pub blob: Part,
    /// How the blob is compressed.
    pub compression: Compression,
    /// Bytes of the tree unpacked: what root mode `tmpfs` needs.
    pub unpacked_len: u64,
    /// How the blob was cut.
    pub chunker: Chunker,
    /// Entries in the chunk table.
    pub chunk_count: u32,
    /// BLAKE3 of each page of the chunk table.
    pub pages: Vec<Hash>,
    /// The image's kernels, the default one first.
    pub kernels: Vec<KernelEntry>,
    /// The program and version that built it.
    pub created_by: String,
}

/// Why a header is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not signed by a key of this cluster.
    #[error("manifest refused: {0}")]
    Signature(#[from] SignatureError),
    /// Signed, but not readable.
    #[error("manifest refused: {0}")]
    Decode(#[from] wire::DecodeError),
    /// Signed by a later or earlier program.
    #[error("manifest refused: it has format {found}, this program reads format {FORMAT}")]
    Format {
        /// The format it declares.
        found: u16,
    },
    /// Signed and readable, but its parts contradict each other.
    #[error("manifest refused: {0}")]
    Inconsistent(&'static str),
    /// Too much for a header: too many chunks or kernels.
    #[error(
        "manifest of {len} bytes is longer than the limit of {HEADER_MAX} bytes: the image has too many kernels or too long arguments"
    )]
    TooLong {
        /// Its encoded length in bytes.
        len: usize,
    },
}

impl Header {
    /// A header for a blob that was cut into the table whose pages are given.
    #[expect(clippy::too_many_arguments, reason = "a header is these fields; a builder would only rename them")]
    pub fn new(
        name: ImageName,
        blob: Part,
        compression: Compression,
        unpacked_len: u64,
        chunk_count: u32,
        pages: Vec<Hash>,
        kernels: Vec<KernelEntry>,
        created_by: String,
    ) -> Self {
        Self {
            format: FORMAT,
            name,
            blob,
            compression,
            unpacked_len,
            chunker: Chunker::DEFAULT,
            chunk_count,
            pages,
            kernels,
            created_by,
        }
    }

    /// The kernel with this release, or the default one for `None`.
    pub fn kernel(&self, version: Option<&str>) -> Option<&KernelEntry> {
        match version {
            None => self.kernels.first(),
            Some(version) => self.kernels.iter().find(|kernel| kernel.version == version),
        }
    }

    fn check(&self) -> Result<(), HeaderError> {
        let wrong = |why| Err(HeaderError::Inconsistent(why));
        if self.format != FORMAT {
            return Err(HeaderError::Format { found: self.format });
        }
        if self.chunk_count == 0 || self.chunk_count > CHUNKS_MAX {
            return wrong("the number of chunks is out of range");
        }
        let table_len = self.chunk_count as usize * ENTRY_LEN;
        if self.pages.len() != table_len.div_ceil(PAGE_LEN as usize) {
            return wrong("the number of table pages does not fit the number of chunks");
        }
        if self.blob.len > u64::from(self.chunk_count) * u64::from(self.chunker.max) {
            return wrong("the blob is larger than its chunks can be");
        }
        if !self.chunker.is_sound() {
            return wrong("the chunker's parameters are out of range");
        }
        if self.kernels.len() > KERNELS_MAX {
            return wrong("it has too many kernels");
        }
        Ok(())
    }
}

/// A header as it is stored and sent: the exact bytes that were hashed and signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHeader {
    /// The encoded [`Header`].
    pub header: Vec<u8>,
    /// The cluster key that signed it.
    pub signer: PublicKey,
    /// Over the encoded header.
    pub signature: Signature,
}

impl SignedHeader {
    /// Signs a header with the cluster's key.
    pub fn sign(header: &Header, cluster: &SecretKey) -> Result<Self, HeaderError> {
        header.check()?;
        let encoded = wire::encode(header);
        if encoded.len() > HEADER_MAX {
            return Err(HeaderError::TooLong { len: encoded.len() });
        }
        let signature = cluster.sign(DOMAIN, &encoded);
        Ok(Self { header: encoded, signer: cluster.public(), signature })
    }

    /// The same header, signed by another key: the version stays what it is, as its identity covers the header alone.
    #[must_use]
    pub fn signed_by(&self, cluster: &SecretKey) -> Self {
        let signature = cluster.sign(DOMAIN, &self.header);
        Self { header: self.header.clone(), signer: cluster.public(), signature }
    }

    /// The identity of this version: BLAKE3 of the encoded header.
    pub fn id(&self) -> VersionId {
        VersionId(Hash::of(&self.header).0)
    }

    /// Checks the signature against the cluster's keys, then reads the header.
    pub fn verify(&self, cluster: &[PublicKey]) -> Result<Header, HeaderError> {
        self.signature.verify(DOMAIN, &self.header, &self.signer, cluster)?;
        let header: Header = wire::decode::<_, HEADER_MAX>(&self.header)?;
        header.check()?;
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let part = Part { hash: Hash::of(b"blob"), len: 1000 };
        let kernel =
            KernelEntry { version: "6.1.0-1".into(), kernel: part, modules: part, default_args: vec!["quiet".into()] };
        Header::new(
            "debian".parse().unwrap(),
            part,
            Compression::Zstd,
            3000,
            1,
            vec![Hash::of(b"p")],
            vec![kernel],
            "t".into(),
        )
    }

    #[test]
    fn only_the_clusters_key_and_only_the_exact_bytes_are_accepted() {
        let (cluster, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let signed = SignedHeader::sign(&header(), &cluster).unwrap();
        assert_eq!(signed.verify(&[other.public(), cluster.public()]).unwrap(), header());
        assert!(matches!(signed.verify(&[other.public()]), Err(HeaderError::Signature(_))));
        for position in 0..signed.header.len() {
            let mut altered = signed.clone();
            altered.header[position] ^= 1;
            assert!(altered.verify(&[cluster.public()]).is_err());
        }
    }

    #[test]
    fn another_signature_leaves_the_version_what_it_is() {
        let (old, new) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let signed = SignedHeader::sign(&header(), &old).unwrap();
        let again = signed.signed_by(&new);
        assert_eq!(again.id(), signed.id());
        assert_eq!(again.verify(&[new.public()]).unwrap(), header());
        assert!(again.verify(&[old.public()]).is_err());
    }

    #[test]
    fn a_header_that_contradicts_itself_is_not_signed() {
        let cluster = SecretKey::from_seed([1; 32]);
        let bad = [
            Header { chunk_count: 0, ..header() },
            Header { chunk_count: CHUNKS_MAX + 1, ..header() },
            Header { pages: vec![], ..header() },
            Header { blob: Part { len: 1 << 40, ..header().blob }, ..header() },
        ];
        for header in bad {
            assert!(matches!(SignedHeader::sign(&header, &cluster), Err(HeaderError::Inconsistent(_))));
        }
        let long = Header { created_by: "x".repeat(HEADER_MAX), ..header() };
        assert!(matches!(SignedHeader::sign(&long, &cluster), Err(HeaderError::TooLong { .. })));
    }
}
