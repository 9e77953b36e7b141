//! What the service's own user may read once the head gave up root: the registry, the site's overlays, image versions. All of it
//! stays root's; the user reads it as a member of its group. Secret keys are not among it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use super::Paths;

/// Set on directories so that what is made in them later belongs to the same group (inode(7)).
const SET_GROUP_ID: u32 = 0o2000;

/// Lets `group` read all that a running head reads, and returns what had to be changed for that. What people wrote keeps its mode.
///
/// # Errors
/// The path, and why it cannot be changed.
pub fn let_group_read(paths: &Paths, group: u32) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut changed = vec![];
    for dir in [paths.images(), paths.overlays.clone()].into_iter().chain(image_dirs(&paths.images())) {
        give(&dir, group, 0o050 | SET_GROUP_ID, &mut changed)?;
    }
    for versions in image_dirs(&paths.images()).map(|dir| dir.join("versions")).filter(|dir| dir.is_dir()) {
        for entry in walkdir::WalkDir::new(&versions) {
            let entry = entry.map_err(|error| (versions.clone(), error.into()))?;
            let bits = if entry.file_type().is_dir() { 0o050 } else { 0o040 };
            give(entry.path(), group, bits, &mut changed)?;
        }
    }
    give(&paths.nodes_file(), group, 0o040, &mut changed)?;
    // Where a running head records what was changed by hand.
    give(&paths.history(), group, 0o070 | SET_GROUP_ID, &mut changed)?;
    for entry in fs::read_dir(paths.history()).into_iter().flatten().flatten() {
        give(&entry.path(), group, 0o040, &mut changed)?;
    }
    Ok(changed)
}

/// Gives what is at `path` to `group` with at least these permission bits; nothing where nothing is.
fn give(path: &Path, group: u32, bits: u32, changed: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let work = || {
        let before = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        if before.is_symlink() || (before.gid() == group && before.mode() & bits == bits) {
            return Ok(false);
        }
        lchown(path, None, Some(group))?;
        fs::set_permissions(path, Permissions::from_mode((before.mode() | bits) & 0o7777))?;
        Ok(true)
    };
    match work() {
        Ok(true) => changed.push(path.to_owned()),
        Ok(false) => {}
        Err(error) => return Err((path.to_owned(), error)),
    }
    Ok(())
}

/// The directory of every image.
fn image_dirs(images: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(images).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

/// Looks whether this process can read what a running head reads.
///
/// # Errors
/// The first path that it cannot, and why.
pub fn check_readable(paths: &Paths) -> Result<(), (PathBuf, io::Error)> {
    let open = |path: PathBuf| match File::open(&path) {
        // Not made yet: what misses it says so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err((path, error)),
        Ok(_) => Ok(()),
    };
    open(paths.nodes_file())?;
    open(paths.authorized_keys())?;
    open(paths.overlays.clone())?;
    open(paths.images())?;
    image_dirs(&paths.images()).map(|dir| dir.join("versions")).try_for_each(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{create_dir, create_new};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_group_can_read_versions_and_registry_and_no_more_than_before_of_trees_and_keys() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let image = paths.images().join("debian");
        let version = image.join("versions/1");
        for made in [paths.keys(), version.clone(), image.join("rootfs"), paths.overlays.clone(), paths.etc.clone()] {
            create_dir(&made, 0o700).unwrap();
        }
        fs::set_permissions(&image, Permissions::from_mode(0o700)).unwrap();
        for file in [paths.nodes_file(), version.join("header"), image.join("rootfs/shadow"), paths.cluster_key()] {
            create_new(&file, b"x", 0o600).unwrap();
        }
        let group = fs::metadata(dir.path()).unwrap().gid();
        let changed = let_group_read(&paths, group).unwrap();
        assert!(changed.contains(&version) && changed.contains(&paths.nodes_file()), "{changed:?}");
        assert_eq!((mode(&paths.images()) & 0o2070, mode(&image), mode(&version)), (0o2050, 0o2750, 0o750));
        assert_eq!((mode(&version.join("header")), mode(&paths.nodes_file())), (0o640, 0o640));
        assert_eq!((mode(&image.join("rootfs")), mode(&image.join("rootfs/shadow"))), (0o700, 0o600));
        assert_eq!((mode(&paths.keys()), mode(&paths.cluster_key())), (0o700, 0o600));
        assert_eq!(let_group_read(&paths, group).unwrap(), Vec::<PathBuf>::new(), "once is enough");
        check_readable(&paths).unwrap();
    }

    #[test]
    fn a_link_in_place_of_a_version_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let secret = dir.path().join("secret");
        create_new(&secret, b"x", 0o600).unwrap();
        create_dir(&paths.images().join("debian/versions"), 0o750).unwrap();
        std::os::unix::fs::symlink(&secret, paths.images().join("debian/versions/link")).unwrap();
        let_group_read(&paths, fs::metadata(dir.path()).unwrap().gid()).unwrap();
        assert_eq!(mode(&secret), 0o600);
    }
}
