//! Removing trees without following links.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

/// What became of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Inodes removed.
    pub(crate) inodes: u64,
    /// Inodes that could not be removed: mount points and what lies on other file systems.
    pub(crate) kept: u64,
}

/// Removes everything in the directory `dir`, not the directory itself. With `device`, other file systems are left
/// alone, and so is what they lie in.
pub(crate) fn remove_below(dir: BorrowedFd<'_>, device: Option<u64>) -> Result<Removed, Errno> {
    let mut removed = Removed::default();
    // Names first: removing while reading a directory may skip some.
    let mut names = vec![];
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in names {
        remove(dir, &name, device, &mut removed)?;
    }
    Ok(removed)
}

fn remove(dir: BorrowedFd<'_>, name: &CStr, device: Option<u64>, removed: &mut Removed) -> Result<(), Errno> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if device.is_some_and(|device| device != stat.st_dev) {
        removed.kept += 1;
        return Ok(());
    }
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = remove_below(openat(dir, name, flags, Mode::empty())?.as_fd(), device)?;
        removed.inodes += below.inodes;
        removed.kept += below.kept;
        if below.kept > 0 {
            return Ok(());
        }
    }
    match unlinkat(dir, name, if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() }) {
        Ok(()) => removed.inodes += 1,
        Err(Errno::BUSY) => removed.kept += 1,
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Removes `name` in `dir`, whatever it is; the number of inodes that were removed. What does not exist is removed.
pub(crate) fn remove_entry(dir: BorrowedFd<'_>, name: &CStr) -> Result<u64, Errno> {
    let mut removed = Removed::default();
    match remove(dir, name, None, &mut removed) {
        Ok(()) if removed.kept > 0 => Err(Errno::BUSY),
        Ok(()) => Ok(removed.inodes),
        Err(Errno::NOENT) => Ok(0),
        Err(error) => Err(error),
    }
}
