//! The image's own tree in the running system: what a path is without any overlay.

use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};
use wulfpack_shared::net::store::BLOB_FILE;

use super::assemble::squashfs;
use super::early::is_mounted;
use super::error::RootError;
use crate::paths;

/// The image's tree, mounted read-only; one that was mounted for this is unmounted at the end.
#[derive(Debug)]
pub struct MountedImage {
    path: PathBuf,
    ours: bool,
}

impl MountedImage {
    /// Its root directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MountedImage {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = unmount(&self.path, UnmountFlags::DETACH)
        {
            tracing::warn!(%error, path = %self.path.display(), "the image stays mounted");
        }
    }
}

/// The layer below the root where there is one (`overlay`), else the image's blob, mounted for as long as it is needed (`tmpfs`).
///
/// # Errors
/// The image cannot be mounted.
pub fn mounted_image() -> Result<MountedImage, RootError> {
    let lower = Path::new(paths::LAYERS).join("lower");
    if lower.is_dir() && is_mounted(&lower)? {
        return Ok(MountedImage { path: lower, ours: false });
    }
    let path = Path::new(paths::LAYERS).join("image");
    squashfs(&Path::new(paths::IMAGE).join(BLOB_FILE), &path)?;
    Ok(MountedImage { path, ours: true })
}
