//! What can be done with images as a whole: listing, choosing a version, removing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wulfpack_shared::id::{ImageName, VersionId};
use wulfpack_shared::image::Compression;
use wulfpack_shared::time::UnixTime;

use super::files::create_directory;
use super::{ImageLock, Version, VersionInfo, sync};
use crate::image::error::Doing as _;
use crate::image::tree::Tree;
use crate::image::{ImageError, Origin, Progress, Selinux, Silent};

const ROOTFS: &str = "rootfs";
const VERSIONS: &str = "versions";
const ACTIVE: &str = "active";

/// All images of a head.
#[derive(Clone, Debug)]
pub struct Library {
    dir: PathBuf,
}

/// An image for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageInfo {
    /// Its name.
    pub name: ImageName,
    /// Its tree.
    pub rootfs: PathBuf,
    /// The version that nodes boot.
    pub active: Option<VersionId>,
    /// Whether its tree must not change.
    pub read_only: bool,
    /// Where its tree came from, where that is known.
    pub origin: Option<Origin>,
    /// All versions, the newest first.
    pub versions: Vec<VersionSummary>,
}

/// A version for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionSummary {
    /// Its identity.
    pub id: VersionId,
    /// Whether nodes boot it.
    pub active: bool,
    /// When it was built.
    pub created: UnixTime,
    /// Who built it.
    pub created_by: String,
    /// Bytes of the blob.
    pub blob_len: u64,
    /// Bytes of the tree unpacked.
    pub unpacked_len: u64,
    /// Chunks of the blob.
    pub chunks: u32,
    /// Compression of the blob.
    pub compression: Compression,
    /// Releases of its kernels, the default first.
    pub kernels: Vec<String>,
    /// Bytes of kernel and modules archive of the default kernel.
    pub boot_len: u64,
    /// Whether nodes can enforce SELinux with it.
    pub selinux: Selinux,
    /// What the tree that it was built from came from.
    pub origin: Option<Origin>,
    /// What its build warned of.
    pub warnings: Vec<String>,
}

impl Library {
    /// Opens the library in `dir`, creates it where it is missing (mode 0750), and removes what interrupted work left behind.
    ///
    /// # Errors
    /// Where the directory cannot be created or read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let library = Self { dir: dir.into() };
        create_directory(&library.dir)?;
        for name in library.names(|_| true)? {
            let dir = library.image_dir(&name);
            // Who may only read (the service after it gave up root) cleans nothing.
            match ImageLock::clean_idle(&dir) {
                Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        Ok(library)
    }

    /// The library in `dir` for who only looks: nothing is created or removed.
    pub fn looked_at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(in crate::image) fn image_dir(&self, name: &ImageName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    pub(in crate::image) fn versions_dir(&self, name: &ImageName) -> PathBuf {
        self.image_dir(name).join(VERSIONS)
    }

    /// Where the image's tree lies.
    pub fn rootfs(&self, name: &ImageName) -> PathBuf {
        self.image_dir(name).join(ROOTFS)
    }

    pub(in crate::image) fn tree(&self, name: &ImageName) -> Result<Tree, ImageError> {
        let rootfs = self.rootfs(name);
        if rootfs.is_dir() { Ok(Tree::new(rootfs)) } else { Err(ImageError::NoSuchImage { name: name.clone() }) }
    }

    /// Whether there is an image with this name.
    pub fn contains(&self, name: &ImageName) -> bool {
        self.rootfs(name).is_dir() || self.image_dir(name).join(ACTIVE).is_symlink()
    }

    fn names(&self, test: impl Fn(&ImageName) -> bool) -> Result<Vec<ImageName>, ImageError> {
        let mut names = vec![];
        for entry in fs::read_dir(&self.dir).doing("list", &self.dir)? {
            let entry = entry.doing("list", &self.dir)?;
            // Whatever else an administrator keeps here is not ours.
            let name = entry.file_name().to_str().and_then(|name| name.parse::<ImageName>().ok());
            names.extend(name.filter(|name| entry.path().is_dir() && test(name)));
        }
        names.sort();
        Ok(names)
    }

    /// All images by name.
    ///
    /// # Errors
    /// Where a directory cannot be read.
    pub fn list(&self) -> Result<Vec<ImageInfo>, ImageError> {
        self.names(|name| self.contains(name))?.iter().map(|name| self.show(name)).collect()
    }

    /// One image with its versions.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub fn show(&self, name: &ImageName) -> Result<ImageInfo, ImageError> {
        if !self.contains(name) {
            return Err(ImageError::NoSuchImage { name: name.clone() });
        }
        let active = self.active_id(name);
        let versions = self.versions(name)?;
        let versions = versions.iter().map(|version| summary(version, active)).collect();
        let (read_only, origin) = (self.is_read_only(name), self.origin(name));
        Ok(ImageInfo { name: name.clone(), rootfs: self.rootfs(name), active, read_only, origin, versions })
    }

    /// All versions of an image that can be read, the newest first.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn versions(&self, name: &ImageName) -> Result<Vec<Version>, ImageError> {
        let dir = self.versions_dir(name);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other.doing("list", &dir)?,
        };
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<VersionId>().ok());
        let mut versions: Vec<Version> = ids.filter_map(|id| self.version(name, id).ok()).collect();
        versions.sort_by_cached_key(|version| (std::cmp::Reverse(version.info().created), version.id()));
        Ok(versions)
    }

    fn active_id(&self, name: &ImageName) -> Option<VersionId> {
        let target = fs::read_link(self.image_dir(name).join(ACTIVE)).ok()?;
        target.file_name()?.to_str()?.parse().ok()
    }

    /// The version that nodes boot unless they pin another.
    ///
    /// # Errors
    /// Where the image does not exist or was never built.
    pub fn active(&self, name: &ImageName) -> Result<Version, ImageError> {
        match self.active_id(name) {
            Some(id) => self.version(name, id),
            None if self.contains(name) => Err(ImageError::NotBuilt { name: name.clone() }),
            None => Err(ImageError::NoSuchImage { name: name.clone() }),
        }
    }

    /// A version by its id.
    ///
    /// # Errors
    /// Where it does not exist or is damaged.
    pub fn version(&self, name: &ImageName, id: VersionId) -> Result<Version, ImageError> {
        Version::read(name, id, self.versions_dir(name).join(id.to_string()))
    }

    /// Makes a version the one that nodes boot.
    ///
    /// # Errors
    /// Where it does not exist, or the link cannot be replaced.
    pub fn activate(&self, name: &ImageName, id: VersionId) -> Result<(), ImageError> {
        let lock = ImageLock::take(&self.existing(name)?, false, &Silent)?;
        self.activate_locked(&lock, name, id)
    }

    pub(in crate::image) fn activate_locked(
        &self,
        lock: &ImageLock,
        name: &ImageName,
        id: VersionId,
    ) -> Result<(), ImageError> {
        self.version(name, id)?;
        let (dir, active) = (self.image_dir(name), self.image_dir(name).join(ACTIVE));
        let scratch = lock.temporary()?;
        let fresh = scratch.path().join(ACTIVE);
        symlink(Path::new(VERSIONS).join(id.to_string()), &fresh).doing("create", &fresh)?;
        fs::rename(&fresh, &active).doing("replace", &active)?;
        sync(&dir)
    }

    /// Removes old versions beyond the `keep` newest. Neither the active one nor one in `in_use` is ever removed, nor does it
    /// count less because of that. Returns what was removed.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn prune(
        &self,
        name: &ImageName,
        keep: u32,
        in_use: &BTreeSet<VersionId>,
    ) -> Result<Vec<VersionId>, ImageError> {
        let lock = ImageLock::take(&self.existing(name)?, false, &Silent)?;
        let removed = self.prunable(name, keep, in_use)?;
        for id in &removed {
            lock.discard(&self.versions_dir(name).join(id.to_string()))?;
        }
        Ok(removed)
    }

    /// What [`Self::prune`] would remove.
    ///
    /// # Errors
    /// Where the versions cannot be listed.
    pub fn prunable(
        &self,
        name: &ImageName,
        keep: u32,
        in_use: &BTreeSet<VersionId>,
    ) -> Result<Vec<VersionId>, ImageError> {
        let active = self.active_id(name);
        let old = self.versions(name)?.into_iter().skip(keep as usize).map(|version| version.id());
        Ok(old.filter(|id| Some(*id) != active && !in_use.contains(id)).collect())
    }

    /// Removes an image with its tree and all versions. `users` are the nodes and profiles that boot it: unless it is `force`d,
    /// an image with users stays.
    ///
    /// # Errors
    /// Where there is none, it is in use, or something cannot be removed.
    pub fn delete(
        &self,
        name: &ImageName,
        users: &[String],
        force: bool,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        if !self.contains(name) {
            return Err(ImageError::NoSuchImage { name: name.clone() });
        }
        if !users.is_empty() && !force {
            return Err(ImageError::InUse { name: name.clone(), users: some_of(users) });
        }
        let dir = self.image_dir(name);
        let lock = ImageLock::take(&dir, false, progress)?;
        super::forbid_mounts(&dir, &[])?;
        progress.stage("Removing the image", None);
        let active = dir.join(ACTIVE);
        if active.is_symlink() {
            fs::remove_file(&active).doing("remove", &active)?;
        }
        for path in [dir.join(VERSIONS), dir.join(ROOTFS)].iter().filter(|path| path.exists()) {
            lock.discard(path)?;
        }
        // The directory with the lock goes last; whoever waits for the lock finds no image.
        fs::remove_dir_all(&dir).doing("remove", &dir)
    }

    pub(in crate::image) fn existing(&self, name: &ImageName) -> Result<PathBuf, ImageError> {
        if self.contains(name) { Ok(self.image_dir(name)) } else { Err(ImageError::NoSuchImage { name: name.clone() }) }
    }
}

fn some_of(users: &[String]) -> String {
    let shown = users.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if users.len() > 5 { format!("{shown} and {} more", users.len() - 5) } else { shown }
}

fn summary(version: &Version, active: Option<VersionId>) -> VersionSummary {
    let VersionInfo { created, created_by, warnings, selinux, origin, .. } = version.info();
    let header = version.header();
    VersionSummary {
        id: version.id(),
        active: active == Some(version.id()),
        created,
        created_by,
        blob_len: header.blob.len,
        unpacked_len: header.unpacked_len,
        chunks: header.chunk_count,
        compression: header.compression,
        kernels: header.kernels.iter().map(|kernel| kernel.version.clone()).collect(),
        boot_len: header.kernel(None).map_or(0, |kernel| kernel.kernel.len + kernel.modules.len),
        selinux,
        origin,
        warnings,
    }
}
