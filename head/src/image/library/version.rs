//! One immutable version of an image as it lies on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{Hash, ImageName, VersionId};
use wulfpack_shared::image::{ChunkTable, Header, SignedHeader};
use wulfpack_shared::limits::HEADER_MAX;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire;

use crate::image::build::Listing;
use crate::image::error::Doing as _;
use crate::image::{ImageError, ModulesReport, Origin, Selinux};

pub(in crate::image) const HEADER: &str = "header";
pub(in crate::image) const TABLE: &str = "table";
pub(in crate::image) const BLOB: &str = "blob.squashfs";
pub(in crate::image) const KERNELS: &str = "kernels";
pub(in crate::image) const KERNEL: &str = "kernel";
pub(in crate::image) const MODULES: &str = "modules";
pub(in crate::image) const INFO: &str = "info.json";
pub(in crate::image) const FILES: &str = "files.zst";
/// A signed header: the header, a key, a signature, and their lengths.
const SIGNED_MAX: usize = HEADER_MAX + 256;

/// What people want to know of a version beside what its manifest says. Nothing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// When it was built, in milliseconds since 1970.
    pub created: UnixTime,
    /// Who built it.
    pub created_by: String,
    /// Seconds that building took.
    pub build_seconds: u64,
    /// What went into the modules archives, the default kernel's first.
    pub modules: Vec<ModulesReport>,
    /// What the build warned of.
    pub warnings: Vec<String>,
    /// Where the tree came from.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Whether nodes can enforce SELinux with it.
    #[serde(default)]
    pub selinux: Selinux,
    /// By kernel, a hash of all that its modules archive was made from.
    #[serde(default)]
    pub inputs: BTreeMap<String, Hash>,
}

/// A version whose manifest was read. Its files are complete: they got their names only then.
#[derive(Clone, Debug)]
pub struct Version {
    name: ImageName,
    id: VersionId,
    dir: PathBuf,
    signed: SignedHeader,
    header: Header,
}

impl Version {
    /// Reads the version in `dir`, which is named after its id.
    pub(super) fn read(name: &ImageName, id: VersionId, dir: PathBuf) -> Result<Self, ImageError> {
        let path = dir.join(HEADER);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ImageError::NoSuchVersion { name: name.clone(), id });
            }
            other => other.doing("read", &path)?,
        };
        let damaged = |why: String| ImageError::Damaged { name: name.clone(), id, why };
        let signed: SignedHeader = wire::decode::<_, SIGNED_MAX>(&bytes).map_err(|error| damaged(error.to_string()))?;
        if signed.id() != id {
            return Err(damaged(format!("its manifest is that of version {:.12}", signed.id())));
        }
        // Whether the signer is a key of this cluster is checked by everyone who boots it; keys may have been rotated here.
        let header = signed.verify(&[signed.signer]).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { name: name.clone(), id, dir, signed, header })
    }

    /// The image it is a version of.
    pub const fn name(&self) -> &ImageName {
        &self.name
    }

    /// Its identity.
    pub const fn id(&self) -> VersionId {
        self.id
    }

    /// Its manifest header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Its manifest header as it is sent.
    pub const fn signed(&self) -> &SignedHeader {
        &self.signed
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The squashfs blob.
    pub fn blob(&self) -> PathBuf {
        self.dir.join(BLOB)
    }

    /// The chunk table.
    pub fn table(&self) -> PathBuf {
        self.dir.join(TABLE)
    }

    /// Reads the chunk table.
    ///
    /// # Errors
    /// Where it cannot be read or is not the one of the manifest.
    pub fn read_table(&self) -> Result<ChunkTable, ImageError> {
        let path = self.table();
        Ok(ChunkTable::parse(&self.header, &fs::read(&path).doing("read", &path)?)?)
    }

    /// The kernel with this release; `None` if the version does not have it.
    pub fn kernel(&self, release: &str) -> Option<PathBuf> {
        self.kernel_file(release, KERNEL)
    }

    /// The archive of modules and firmware of the kernel with this release; `None` if the version does not have it.
    pub fn modules(&self, release: &str) -> Option<PathBuf> {
        self.kernel_file(release, MODULES)
    }

    fn kernel_file(&self, release: &str, file: &str) -> Option<PathBuf> {
        let kernel = self.header.kernel(Some(release))?;
        Some(self.dir.join(KERNELS).join(&kernel.version).join(file))
    }

    /// Whether its files are there with the lengths that the manifest says.
    pub(in crate::image) fn is_whole(&self) -> bool {
        let has = |path: Option<PathBuf>, len: u64| {
            path.is_some_and(|path| fs::metadata(path).is_ok_and(|file| file.len() == len))
        };
        let kernels = self.header.kernels.iter();
        has(Some(self.blob()), self.header.blob.len)
            && self.table().is_file()
            && kernels.into_iter().all(|kernel| {
                has(self.kernel(&kernel.version), kernel.kernel.len)
                    && has(self.modules(&kernel.version), kernel.modules.len)
            })
    }

    /// Every file of it; `None` where it was built before files were listed.
    pub(in crate::image) fn files(&self) -> Option<Listing> {
        Listing::load(&self.dir.join(FILES))
    }

    /// When and how it was built; empty where that is not known any more.
    pub fn info(&self) -> VersionInfo {
        let read = fs::read(self.dir.join(INFO)).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }
}
