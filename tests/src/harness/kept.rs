//! A built image with the keys that signed it, kept between labs: mksquashfs takes a minute here.
//!
//! What is kept belongs to one head binary and one archive; with another binary the image is built again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use wulfpack_head::config::Paths;

use super::cleanup::{Guard, Undo};
use super::paths::cache_dir;
use super::tool::run;

/// Where one head's build of one archive is kept.
#[derive(Debug)]
pub struct Kept {
    dir: PathBuf,
    /// Held until this is dropped: two labs that build the same image do it one after the other.
    _lock: fs::File,
}

impl Kept {
    /// What `binary` makes of `archive`.
    pub fn of(binary: &Path, archive: &Path) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let program = fs::File::open(binary).with_context(|| format!("open {}", binary.display()))?;
        hasher.update_reader(program)?;
        hasher.update(archive.as_os_str().as_encoded_bytes());
        let built = cache_dir()?.join("built");
        fs::create_dir_all(&built).with_context(|| format!("create {}", built.display()))?;
        let name = archive.file_stem().context("the archive has no name")?.to_string_lossy();
        let dir = built.join(format!("{name}-{}", &hasher.finalize().to_hex()[..12]));
        let lock = fs::File::create(dir.with_extension("lock"))?;
        lock.lock().with_context(|| format!("wait for {}", dir.display()))?;
        Ok(Self { dir, _lock: lock })
    }

    /// Puts keys and images where a head looks for them, if they were kept.
    pub fn restore(&self, paths: &Paths) -> Result<bool> {
        if !self.dir.exists() {
            return Ok(false);
        }
        for (name, place) in [("keys", paths.keys()), ("images", paths.images())] {
            copy(&self.dir.join(name), &place)?;
        }
        Ok(true)
    }

    /// Keeps keys and images of a head.
    pub fn keep(&self, paths: &Paths) -> Result<()> {
        let partial = self.dir.with_extension("partial");
        let guard = Guard::new(Undo::Remove(partial.clone()));
        fs::create_dir_all(&partial)?;
        for (name, place) in [("keys", paths.keys()), ("images", paths.images())] {
            copy(&place, &partial.join(name))?;
        }
        fs::rename(&partial, &self.dir).with_context(|| format!("keep {}", self.dir.display()))?;
        drop(guard);
        Ok(())
    }
}

/// Copies a tree by hard links: nothing changes a file of a version or of a key in place.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("a path without a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    run(Command::new("cp").args(["-a", "--link", "--no-target-directory"]).arg(from).arg(to)).map(drop)
}
