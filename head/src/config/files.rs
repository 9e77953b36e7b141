//! Writing a file so that a reader, or the next start after a power cut, sees the old or the new one, never half of one.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Replaces the file at `path` by `bytes`. An existing file keeps its owner and permissions, a new one gets `mode`.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = parent(path);
    let mut temp =
        tempfile::Builder::new().prefix(".wulf-").permissions(Permissions::from_mode(0o600)).tempfile_in(dir)?;
    temp.write_all(bytes)?;
    match fs::metadata(path) {
        Ok(old) => {
            let (uid, gid) = (old.uid(), old.gid());
            let new = temp.as_file().metadata()?;
            if (uid, gid) != (new.uid(), new.gid()) {
                std::os::unix::fs::fchown(temp.as_file(), Some(uid), Some(gid))?;
            }
            temp.as_file().set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            temp.as_file().set_permissions(Permissions::from_mode(mode))?;
        }
        Err(error) => return Err(error),
    }
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Creates the file at `path` with `bytes` and `mode`; fails with `AlreadyExists` where there is one.
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = parent(path);
    let mut temp =
        tempfile::Builder::new().prefix(".wulf-").permissions(Permissions::from_mode(0o600)).tempfile_in(dir)?;
    temp.write_all(bytes)?;
    temp.as_file().set_permissions(Permissions::from_mode(mode))?;
    temp.as_file().sync_all()?;
    temp.persist_noclobber(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Creates a directory and its parents. `true` if it did not exist; the mode of an existing one is left alone.
pub fn create_dir(path: &Path, mode: u32) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    DirBuilder::new().mode(mode).create(path)?;
    // The process's umask must not make it narrower than what other users of the head need.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(true)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_file_gets_the_mode_and_an_old_one_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomically(&path, b"1", 0o640).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (b"1".as_slice(), 0o640));
        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        write_atomically(&path, b"2", 0o640).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (b"2".as_slice(), 0o604));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn an_existing_file_is_never_overwritten_by_create() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create_new(&path, b"1", 0o600).unwrap();
        assert_eq!(create_new(&path, b"2", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"1");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_get_exactly_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(create_dir(&path, 0o700).unwrap());
        assert_eq!(mode(&path), 0o700);
        assert!(!create_dir(&path, 0o755).unwrap());
        assert_eq!(mode(&path), 0o700);
    }
}
