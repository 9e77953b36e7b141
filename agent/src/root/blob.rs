//! The tmpfs that holds the image, and nothing else.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, chmodat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};

use super::early::is_mounted;
use super::error::RootError;
use super::tmpfs::Tmpfs;

const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
/// Beside blob and table: header, certificate, key, and the tmpfs's own pages.
const SLACK: u64 = 1024 * 1024;
const PAGE: u64 = 4096;

/// Size of the tmpfs for a blob and a chunk table of these lengths. Bytes.
pub const fn blob_bytes(blob_len: u64, table_len: u64) -> u64 {
    (blob_len.div_ceil(PAGE) + table_len.div_ceil(PAGE)).saturating_mul(PAGE).saturating_add(SLACK)
}

/// A mounted tmpfs under a directory that only root may enter. It stays mounted when this value is dropped.
#[derive(Debug)]
pub struct BlobDir {
    path: PathBuf,
}

impl BlobDir {
    /// Mounts a tmpfs of `size` bytes (see [`blob_bytes`]) on `path`, making the directory and its parent, both 0700.
    ///
    /// # Errors
    /// The mount is refused.
    pub fn mount(path: &Path, size: u64) -> Result<Self, RootError> {
        let make = RootError::io(format!("make the directory {}", path.display()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(make)?;
        if let Some(parent) = path.parent() {
            let close = RootError::during(format!("close {} to others", parent.display()));
            chmodat(CWD, parent, Mode::RWXU, AtFlags::empty()).map_err(close)?;
        }
        Tmpfs { size, mode: 0o700, noswap: true, flags: FLAGS, name: "wulfpack-image" }.mount(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// The tmpfs that an earlier process of this boot left at `path`, writable again; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be made writable.
    pub fn left(path: &Path) -> Result<Option<Self>, RootError> {
        if !path.is_dir() || !is_mounted(path)? {
            return Ok(None);
        }
        let writable = RootError::during(format!("make {} writable again", path.display()));
        mount_remount(path, FLAGS, "").map_err(writable)?;
        Ok(Some(Self { path: path.to_owned() }))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it read-only, once the image is complete and every descriptor that writes is closed.
    ///
    /// # Errors
    /// Somebody still has a file open for writing.
    pub fn remount_ro(&self) -> Result<(), RootError> {
        mount_remount(&self.path, FLAGS | MountFlags::RDONLY, "").map_err(|source| {
            let open = if source == Errno::BUSY { " (a file in it is still open for writing)" } else { "" };
            RootError { what: format!("make {} read-only{open}", self.path.display()), source }
        })
    }

    /// Takes it away and frees its memory, such as when another image takes its place.
    ///
    /// # Errors
    /// Something in it is in use.
    pub fn unmount(self) -> Result<(), RootError> {
        let what = RootError::during(format!("unmount {}", self.path.display()));
        unmount(&self.path, UnmountFlags::empty()).map_err(what)
    }
}
