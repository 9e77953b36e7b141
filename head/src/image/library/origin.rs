//! What an image's directory says of its tree: where it came from, and whether it may change.

use std::fs;
use std::io;

use wulfpack_shared::id::ImageName;

use super::{ImageLock, Library};
use crate::image::error::Doing as _;
use crate::image::{ImageError, Origin, Silent};

pub(in crate::image) const ORIGIN: &str = "origin.json";
/// Warewulf's name for it.
const READ_ONLY: &str = "readonly";

impl Library {
    /// Where the image's tree came from; `None` where that is not known.
    pub fn origin(&self, name: &ImageName) -> Option<Origin> {
        let bytes = fs::read(self.image_dir(name).join(ORIGIN)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(in crate::image) fn forget_origin(&self, name: &ImageName) -> Result<(), ImageError> {
        let path = self.image_dir(name).join(ORIGIN);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", &path),
            _ => Ok(()),
        }
    }

    /// Whether the tree must not change.
    pub fn is_read_only(&self, name: &ImageName) -> bool {
        self.image_dir(name).join(READ_ONLY).exists()
    }

    pub(in crate::image) fn check_writable(&self, name: &ImageName) -> Result<(), ImageError> {
        if self.is_read_only(name) { Err(ImageError::ReadOnly { name: name.clone() }) } else { Ok(()) }
    }

    /// Lets the tree change, or forbids it to every command; building and booting go on.
    ///
    /// # Errors
    /// Where there is no such image, or its directory cannot be written.
    pub fn set_read_only(&self, name: &ImageName, read_only: bool) -> Result<(), ImageError> {
        let _lock = ImageLock::take(&self.existing(name)?, false, &Silent)?;
        let path = self.image_dir(name).join(READ_ONLY);
        if read_only {
            return fs::write(&path, "").doing("create", &path);
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", &path),
            _ => Ok(()),
        }
    }
}
