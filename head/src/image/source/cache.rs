//! Layers by their digest. Whatever lies here may be deleted at any time: it is fetched again.
//!
//! ```text
//! blobs/sha256/DIGEST   a layer, a configuration or a manifest
//! lock                  held shared by who reads, alone by who removes
//! .tmp-*                an import that goes on
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::TempDir;

use super::Digest;
use crate::image::ImageError;
use crate::image::error::Doing as _;

const TEMPORARY: &str = ".tmp-";

/// The directory of all layers.
#[derive(Clone, Debug)]
pub struct LayerCache {
    dir: PathBuf,
}

/// While it lives nothing is removed.
#[derive(Debug)]
pub(super) struct InUse {
    _file: File,
}

impl LayerCache {
    /// The cache in `dir`, which is made when it is first needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where blobs lie.
    pub(super) fn blobs(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    /// Keeps everything here until what is returned is dropped.
    pub(super) fn enter(&self) -> Result<InUse, ImageError> {
        let blobs = self.blobs().join("sha256");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&blobs).doing("create", &blobs)?;
        let file = self.lock_file()?;
        file.lock_shared().doing("lock", &self.dir)?;
        Ok(InUse { _file: file })
    }

    fn lock_file(&self) -> Result<File, ImageError> {
        let path = self.dir.join("lock");
        File::options().read(true).write(true).create(true).truncate(false).open(&path).doing("open the lock", &path)
    }

    /// A directory for one import; gone when dropped.
    pub(super) fn temporary(&self) -> Result<TempDir, ImageError> {
        tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&self.dir).doing("create a directory in", &self.dir)
    }

    /// Whether this content is here, with this size. Marks it as used now.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        let Ok(file) = File::open(digest.path(&self.blobs())) else { return false };
        // Best effort: without the mark it is only removed earlier.
        drop(file.set_modified(SystemTime::now()));
        file.metadata().is_ok_and(|metadata| metadata.len() == size)
    }

    /// Takes away what turned out to be damaged.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), ImageError> {
        let path = digest.path(&self.blobs());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", &path),
            _ => Ok(()),
        }
    }

    /// Bytes of everything here.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn size(&self) -> Result<u64, ImageError> {
        Ok(self.files()?.iter().map(|(_, _, len)| len).sum())
    }

    /// Removes what was used longest ago until at most `max` bytes are left, and what imports left that were interrupted.
    /// Returns the bytes that were removed: none while an import goes on.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn prune(&self, max: u64) -> Result<u64, ImageError> {
        if !self.dir.is_dir() {
            return Ok(0);
        }
        let lock = self.lock_file()?;
        if lock.try_lock().is_err() {
            return Ok(0);
        }
        for entry in fs::read_dir(&self.dir).doing("list", &self.dir)? {
            let path = entry.doing("list", &self.dir)?.path();
            if name_of(&path).starts_with(TEMPORARY) {
                fs::remove_dir_all(&path).doing("remove", &path)?;
            }
        }
        let mut files = self.files()?;
        files.sort();
        let (mut left, mut removed) = (files.iter().map(|(_, _, len)| len).sum::<u64>(), 0);
        for (_, path, len) in files {
            if left <= max {
                break;
            }
            fs::remove_file(&path).doing("remove", &path)?;
            (left, removed) = (left - len, removed + len);
        }
        Ok(removed)
    }

    /// All blobs: when used, where, how many bytes.
    fn files(&self) -> Result<Vec<(SystemTime, PathBuf, u64)>, ImageError> {
        let dir = self.blobs().join("sha256");
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            other => other.doing("list", &dir)?,
        };
        let mut files = vec![];
        for entry in entries {
            let path = entry.doing("list", &dir)?.path();
            let metadata = fs::symlink_metadata(&path).doing("read", &path)?;
            files.push((metadata.modified().doing("read", &path)?, path, metadata.len()));
        }
        Ok(files)
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first_and_nothing_while_somebody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let cache = LayerCache::new(dir.path().join("oci"));
        assert_eq!((cache.size().unwrap(), cache.prune(0).unwrap()), (0, 0));
        let reading = cache.enter().unwrap();
        let digests: Vec<Digest> = (0u8..3).map(|byte| Digest::of(&[byte])).collect();
        for (age, digest) in (1..).zip(&digests) {
            let path = digest.path(&cache.blobs());
            fs::write(&path, vec![0; 100]).unwrap();
            let time = SystemTime::now() - Duration::from_secs(3600 * age);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        let left = cache.temporary().unwrap().keep();
        // The oldest is used now; it becomes the youngest.
        assert!(cache.has(&digests[2], 100) && !cache.has(&digests[2], 99));
        assert_eq!(cache.prune(0).unwrap(), 0, "somebody reads");
        drop(reading);
        assert_eq!(cache.prune(250).unwrap(), 100);
        assert!(!left.exists());
        let here: Vec<bool> = digests.iter().map(|digest| cache.has(digest, 100)).collect();
        assert_eq!(here, [true, false, true]);
        assert_eq!(cache.size().unwrap(), 200);
    }
}
