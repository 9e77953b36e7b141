//! A session whose image lacks mount points has an overlay file system over its tree, which leaves marks in what was changed
//! (Documentation/filesystems/overlayfs.rst): attributes of directories, and devices in place of what was removed. They are no part
//! of the image.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use walkdir::WalkDir;

const PREFIX: &str = "trusted.overlay.";

/// Takes them away.
pub(super) fn remove_marks(root: &Path) -> io::Result<()> {
    for entry in WalkDir::new(root).same_file_system(true) {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.is_char_device() && fs::symlink_metadata(path)?.rdev() == 0 {
            fs::remove_file(path)?;
            continue;
        }
        // Links carry none: only root's own kind of attribute can be set on them.
        if !kind.is_dir() && !kind.is_file() {
            continue;
        }
        let names = match xattr::list(path) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
            Err(error) => return Err(error),
        };
        for name in names.filter(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
            xattr::remove(path, &name)?;
        }
    }
    Ok(())
}
