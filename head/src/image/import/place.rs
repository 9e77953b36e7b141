//! Importing: a tree is made beside the image's own and takes its place in one step.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use serde::Serialize;
use wulfpack_shared::id::ImageName;

use super::unpack::{apply_layers, first_names, unpack};
use super::{copy, meta};
use crate::image::error::Doing as _;
use crate::image::library::{ImageLock, ORIGIN, forbid_mounts, sync};
use crate::image::source::{FetchSettings, Fetched, Origin, Source, fetch, is_layout, now, resolve};
use crate::image::{ImageError, Library, Progress};

/// What came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Files, directories, links, devices; of every layer where there are layers.
    pub entries: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
}

/// What becomes of an image that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It stays, and importing is an error.
    No,
    /// Its tree is replaced.
    Yes,
    /// Its tree is replaced, unless it came from exactly what the source is now.
    Changed,
}

/// How an import ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// The image has a new tree.
    Imported(Imported),
    /// It came from the same content before; nothing was done.
    Unchanged,
}

/// Where a tree is taken from.
enum From<'a> {
    Path(&'a Path),
    Layers(&'a Fetched),
}

impl Library {
    /// Makes what `source` means the tree of the image `name`. The tree of an existing image is exchanged in one step; its built
    /// versions stay. On failure nothing has changed.
    ///
    /// # Errors
    /// Where the image exists and is not to be replaced, the source cannot be had completely, holds no root file system or tries
    /// to leave its tree, or the tree cannot be written.
    pub fn import(
        &self,
        source: &Source,
        name: &ImageName,
        replace: Replace,
        settings: &FetchSettings,
        progress: &dyn Progress,
    ) -> Result<ImportOutcome, ImageError> {
        if self.contains(name) && replace == Replace::No {
            return Err(ImageError::Exists { name: name.clone() });
        }
        let source = &recognised(source);
        if let Source::Path(path) = source {
            fs::metadata(path).doing("read", path)?;
            let imported_by = settings.importer.clone();
            let origin = Origin {
                source: path.canonicalize().doing("find", path)?.display().to_string(),
                digest: None,
                index: None,
                platform: None,
                layers: vec![],
                imported: now(),
                imported_by,
            };
            let imported = self.place(&From::Path(path), name, replace, &origin, progress)?;
            return Ok(ImportOutcome::Imported(imported));
        }
        progress.stage("Asking for the image", None);
        let resolved = resolve(source, settings)?;
        if replace == Replace::Changed
            && let (Some(resolved), Some(known)) = (&resolved, self.origin(name))
            && known.digest.as_ref() == Some(&resolved.digest)
        {
            return Ok(ImportOutcome::Unchanged);
        }
        let fetched = fetch(source, resolved, settings, progress)?;
        if replace == Replace::Changed && self.origin(name).is_some_and(|known| known.digest == fetched.origin.digest) {
            return Ok(ImportOutcome::Unchanged);
        }
        let imported = self.place(&From::Layers(&fetched), name, replace, &fetched.origin, progress)?;
        Ok(ImportOutcome::Imported(imported))
    }

    /// Makes the image `new` with the tree of the image `name`; versions are not copied.
    ///
    /// # Errors
    /// Where there is no such image, the other exists, or the copy cannot be written.
    pub fn copy(&self, name: &ImageName, new: &ImageName, progress: &dyn Progress) -> Result<Imported, ImageError> {
        let dir = self.existing(name)?;
        if self.contains(new) {
            return Err(ImageError::Exists { name: new.clone() });
        }
        // It must not change meanwhile.
        let _lock = ImageLock::take(&dir, false, progress)?;
        let rootfs = self.tree(name)?.root().to_owned();
        let origin = self.origin(name).unwrap_or_else(|| Origin {
            source: format!("image {name}"),
            digest: None,
            index: None,
            platform: None,
            layers: vec![],
            imported: now(),
            imported_by: String::new(),
        });
        self.place(&From::Path(&rootfs), new, Replace::No, &origin, progress)
    }

    fn place(
        &self,
        from: &From<'_>,
        name: &ImageName,
        replace: Replace,
        origin: &Origin,
        progress: &dyn Progress,
    ) -> Result<Imported, ImageError> {
        let dir = self.image_dir(name);
        let fresh = !dir.exists();
        let lock = ImageLock::take(&dir, true, progress)?;
        let result = self.place_locked(&lock, from, name, replace, origin, progress);
        if result.is_err() && fresh && !self.contains(name) {
            // Best effort: an empty directory is not an image.
            drop(fs::remove_dir_all(&dir));
        }
        result
    }

    fn place_locked(
        &self,
        lock: &ImageLock,
        from: &From<'_>,
        name: &ImageName,
        replace: Replace,
        origin: &Origin,
        progress: &dyn Progress,
    ) -> Result<Imported, ImageError> {
        let rootfs = self.rootfs(name);
        // Somebody else may have been quicker while we waited for the lock.
        if rootfs.exists() {
            if replace == Replace::No {
                return Err(ImageError::Exists { name: name.clone() });
            }
            self.check_writable(name)?;
            forbid_mounts(&rootfs, &[])?;
        }
        let scratch = lock.temporary()?;
        let tree = scratch.path().join("rootfs");
        fs::create_dir(&tree).doing("create", &tree)?;
        let root = meta::Meta::directory();
        meta::apply(&tree, &root, false).and_then(|()| meta::set_time(&tree, root.mtime)).doing("create", &tree)?;
        let imported = self.fill(from, &tree, progress)?;
        if !["etc", "usr", "bin"].iter().any(|name| fs::symlink_metadata(tree.join(name)).is_ok()) {
            return Err(ImageError::NotARoot { source_name: origin.source.clone() });
        }
        progress.stage("Writing to disk", None);
        let remembered = scratch.path().join(ORIGIN);
        let text = serde_json::to_vec_pretty(origin).map_err(std::io::Error::from).doing("write", &remembered)?;
        fs::write(&remembered, text).doing("write", &remembered)?;
        File::open(&tree).and_then(|dir| Ok(syncfs(dir)?)).doing("write", &tree)?;
        // Rather nothing known of the origin than something wrong.
        self.forget_origin(name)?;
        if rootfs.exists() {
            // In one step: at no moment is there no tree, or half of one. The old one goes with `scratch`.
            renameat_with(CWD, &tree, CWD, &rootfs, RenameFlags::EXCHANGE).doing("replace", &rootfs)?;
        } else {
            fs::rename(&tree, &rootfs).doing("create", &rootfs)?;
        }
        let place = self.image_dir(name).join(ORIGIN);
        fs::rename(&remembered, &place).doing("create", &place)?;
        sync(&self.image_dir(name))?;
        Ok(imported)
    }

    fn fill(&self, from: &From<'_>, tree: &Path, progress: &dyn Progress) -> Result<Imported, ImageError> {
        match from {
            From::Layers(fetched) => apply_layers(fetched, tree, progress),
            From::Path(source) if source.is_dir() => {
                let (around, library) = (source.canonicalize(), self.dir().canonicalize());
                if library.doing("find", self.dir())?.starts_with(around.doing("find", source)?) {
                    return Err(ImageError::SourceAroundLibrary { path: source.to_path_buf() });
                }
                copy::copy(source, tree, progress)
            }
            From::Path(source) => unpack(source, tree, progress),
        }
    }
}

/// A path that holds a container image instead of a root file system is taken as what it is.
fn recognised(source: &Source) -> Source {
    let Source::Path(path) = source else { return source.clone() };
    if path.is_dir() {
        return if is_layout(path) { Source::Layout { dir: path.clone(), tag: None } } else { source.clone() };
    }
    if !path.is_file() {
        return source.clone();
    }
    let names = first_names(path);
    let has = |name: &str| names.iter().any(|known| known == Path::new(name));
    let hexadecimal = |name: &str| name.len() >= 64 && name.bytes().take(64).all(|byte| byte.is_ascii_hexdigit());
    let rest = path.display().to_string();
    if has("oci-layout") || has("index.json") || has("blobs") || names.iter().any(|name| name.starts_with("blobs/")) {
        Source::Archive { scheme: "oci-archive:", rest }
    } else if has("manifest.json") || names.iter().any(|name| name.to_str().is_some_and(hexadecimal)) {
        Source::Archive { scheme: "docker-archive:", rest }
    } else {
        source.clone()
    }
}
