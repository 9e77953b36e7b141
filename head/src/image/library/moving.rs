//! Images as a whole: copies, other names, kernels.

use std::fs;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;
use wulfpack_shared::id::ImageName;

use super::{ImageLock, Library, forbid_mounts, sync};
use crate::image::error::Doing as _;
use crate::image::initramfs::{can_mount_root, load_index};
use crate::image::kernel::{KernelConfig, find_kernels};
use crate::image::{ImageError, Progress};

/// A kernel in an image's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TreeKernel {
    /// As `uname -r` prints it.
    pub release: String,
    /// Inside the tree.
    pub path: String,
    /// Whether nodes boot it unless they say otherwise.
    pub default: bool,
    /// Whether the active version has it.
    pub built: bool,
    /// Why nodes cannot boot it.
    pub problem: Option<String>,
}

impl Library {
    /// Gives the image `name` another name. Versions keep theirs in their manifests; nodes do not look at it.
    ///
    /// # Errors
    /// Where there is no such image, the other name is taken, or somebody works on the image.
    pub fn rename(&self, name: &ImageName, new: &ImageName, progress: &dyn Progress) -> Result<(), ImageError> {
        let (from, to) = (self.existing(name)?, self.image_dir(new));
        let _lock = ImageLock::take(&from, false, progress)?;
        forbid_mounts(&from, &[])?;
        match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => Err(ImageError::Exists { name: new.clone() }),
            other => other.doing("create", &to),
        }?;
        sync(self.dir())
    }

    /// The kernels of an image's tree, the default first.
    ///
    /// # Errors
    /// Where there is no such image, or it cannot be read.
    pub fn kernels(&self, name: &ImageName) -> Result<Vec<TreeKernel>, ImageError> {
        let tree = self.tree(name)?;
        let active = self.active(name).ok();
        let mut found = vec![];
        for (index, kernel) in find_kernels(&tree).into_iter().enumerate() {
            let config = KernelConfig::load(&tree, &kernel.release).doing("read", tree.root())?;
            let problem = match load_index(&tree, &kernel.release) {
                Err(error) => Some(error.to_string()),
                Ok(loaded) => match can_mount_root(&loaded, &config) {
                    missing if missing.is_empty() => None,
                    missing => Some(format!("it lacks {}", missing.join(", "))),
                },
            };
            let built = active.as_ref().is_some_and(|version| version.header().kernel(Some(&kernel.release)).is_some());
            found.push(TreeKernel { release: kernel.release, path: kernel.path, default: index == 0, built, problem });
        }
        Ok(found)
    }

    /// Bytes of an image's tree and of its versions on disk.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn disk_use(&self, name: &ImageName) -> Result<(u64, u64), ImageError> {
        let dir = self.existing(name)?;
        let of = |path: std::path::PathBuf| -> Result<u64, ImageError> {
            let mut total = 0;
            for entry in walkdir::WalkDir::new(&path).same_file_system(true) {
                let Ok(entry) = entry else { continue };
                let metadata = fs::symlink_metadata(entry.path()).doing("read", entry.path())?;
                total += std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
            }
            Ok(total)
        };
        Ok((of(dir.join("rootfs"))?, of(self.versions_dir(name))?))
    }
}
