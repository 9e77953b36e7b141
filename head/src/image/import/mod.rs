//! A directory or a tar becomes the tree of an image: owners, modes, times, extended attributes, links, devices and holes as
//! they were.
//!
//! * `copy`: from a directory. `unpack`: from an archive, which `reader` takes apart, `pax` with what tar could not
//!   say at first, and `acl` with access control lists as text. `meta`: giving a file its attributes. `sparse`: writing files with holes.

mod acl;
mod copy;
mod meta;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod unpack;

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use serde::Serialize;
use wulfpack_shared::id::ImageName;

use super::error::Doing as _;
use super::library::{ImageLock, forbid_mounts, sync};
use super::{ImageError, Library, Progress};

/// What came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Files, directories, links, devices.
    pub entries: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
}

impl Library {
    /// Makes the directory or the tar archive (plain, gzip, XZ or zstd) at `source` the tree of the image `name`. With
    /// `replace` the tree of an existing image is exchanged in one step; its built versions stay. On failure nothing has changed.
    ///
    /// # Errors
    /// Where the image exists and is not to be replaced, the source cannot be read completely, holds no root file system or
    /// tries to leave its tree, or the copy cannot be written.
    pub fn import(
        &self,
        source: &Path,
        name: &ImageName,
        replace: bool,
        progress: &dyn Progress,
    ) -> Result<Imported, ImageError> {
        if self.contains(name) && !replace {
            return Err(ImageError::Exists { name: name.clone() });
        }
        let kind = fs::metadata(source).doing("read", source)?;
        let dir = self.image_dir(name);
        let fresh = !dir.exists();
        let lock = ImageLock::take(&dir, true, progress)?;
        let result = self.import_locked(&lock, source, kind.is_dir(), name, replace, progress);
        if result.is_err() && fresh && !self.contains(name) {
            // Best effort: an empty directory is not an image.
            drop(fs::remove_dir_all(&dir));
        }
        result
    }

    fn import_locked(
        &self,
        lock: &ImageLock,
        source: &Path,
        is_dir: bool,
        name: &ImageName,
        replace: bool,
        progress: &dyn Progress,
    ) -> Result<Imported, ImageError> {
        let rootfs = self.rootfs(name);
        // Somebody else may have been quicker while we waited for the lock.
        if rootfs.exists() {
            if !replace {
                return Err(ImageError::Exists { name: name.clone() });
            }
            forbid_mounts(&rootfs, &[])?;
        }
        let scratch = lock.temporary()?;
        let tree = scratch.path().join("rootfs");
        fs::create_dir(&tree).doing("create", &tree)?;
        let root = meta::Meta::directory();
        meta::apply(&tree, &root, false).and_then(|()| meta::set_time(&tree, root.mtime)).doing("create", &tree)?;
        let imported = if is_dir {
            let (around, library) = (source.canonicalize(), self.dir().canonicalize());
            if library.doing("find", self.dir())?.starts_with(around.doing("find", source)?) {
                return Err(ImageError::SourceAroundLibrary { path: source.to_owned() });
            }
            copy::copy(source, &tree, progress)?
        } else {
            unpack::unpack(source, &tree, progress)?
        };
        if !["etc", "usr", "bin"].iter().any(|name| fs::symlink_metadata(tree.join(name)).is_ok()) {
            return Err(ImageError::NotARoot { path: source.to_owned() });
        }
        progress.stage("Writing to disk", None);
        File::open(&tree).and_then(|dir| Ok(syncfs(dir)?)).doing("write", &tree)?;
        if rootfs.exists() {
            // In one step: at no moment is there no tree, or half of one. The old one goes with `scratch`.
            renameat_with(CWD, &tree, CWD, &rootfs, RenameFlags::EXCHANGE).doing("replace", &rootfs)?;
        } else {
            fs::rename(&tree, &rootfs).doing("create", &rootfs)?;
        }
        sync(&self.image_dir(name))?;
        Ok(imported)
    }
}
