//! Removes one thing, under the lock of whatever it belongs to.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::find::{Kind, Known, Waste};
use crate::image::{ImageError, LayerCache, Library};

/// Removes it; `false` where it turned out to be in use, or is gone already.
///
/// # Errors
/// It cannot be removed.
pub fn remove(library: &Library, waste: &Waste, known: &Known) -> Result<bool, ImageError> {
    match (waste.kind, &waste.version) {
        (Kind::Version, Some((name, id))) => {
            let held: BTreeSet<_> = known.held.clone().unwrap_or_default();
            // Looked at again under the image's lock: somebody may have activated it in the meantime.
            let gone = library.prune(name, known.keep, &held)?;
            Ok(gone.contains(id) || !waste.path.exists())
        }
        (Kind::Layers, _) => Ok(LayerCache::new(&waste.path).prune(0)? > 0),
        _ => {
            let work = || {
                if fs::symlink_metadata(&waste.path)?.is_dir() {
                    fs::remove_dir_all(&waste.path)
                } else {
                    fs::remove_file(&waste.path)
                }
            };
            match work() {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(source) => Err(ImageError::Io { action: "remove", path: waste.path.clone(), source }),
            }
        }
    }
}
