//! What is wrong with versions as they lie on disk.

use std::fs;

use wulfpack_shared::id::{ImageName, PublicKey, VersionId};

use super::Library;
use crate::image::ImageError;

impl Library {
    /// Versions of an image that cannot be read, have lost files, or were signed by none of these keys of the cluster (none: not
    /// looked at), each with what is wrong.
    pub fn ailments(&self, name: &ImageName, keys: &[PublicKey]) -> Vec<(VersionId, String)> {
        let entries = fs::read_dir(self.versions_dir(name)).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<VersionId>().ok());
        let mut ids: Vec<VersionId> = ids.collect();
        ids.sort_unstable();
        let look = |id: &VersionId| match self.version(name, *id) {
            Err(error) => Some((*id, error.to_string())),
            Ok(version) if !version.is_whole() => {
                Some((*id, "a file of it is missing or has another length".to_owned()))
            }
            Ok(version) if !keys.is_empty() && version.signed().verify(keys).is_err() => {
                Some((*id, "no key of this cluster has signed it: no node accepts it".to_owned()))
            }
            Ok(_) => None,
        };
        ids.iter().filter_map(look).collect()
    }

    /// How many files of an image's tree differ from the version that nodes boot.
    ///
    /// # Errors
    /// Where it was never built, or the tree cannot be read.
    pub fn unbuilt(&self, name: &ImageName) -> Result<usize, ImageError> {
        let active = self.active(name)?.id();
        Ok(self.diff(name, active, None)?.files.len())
    }
}
