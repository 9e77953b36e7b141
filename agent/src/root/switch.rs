//! From the initramfs to the root.
//!
//! The child that goes on running calls [`move_mounts`] and [`enter`]; then PID 1, which shares its mounts, calls
//! [`switch`] and [`exec_init`]. One process alone calls [`move_mounts_and_switch`].

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, openat, stat};
use rustix::io::Errno;
use rustix::mount::mount_move;
use rustix::process::{chdir, chroot};

use super::error::{RootError, make_dir};
use crate::overlay::{Removed, remove_below};

/// What moves; mounts below move along.
const MOVED: [&str; 4] = ["dev", "proc", "sys", "run"];
/// statfs(2): file systems that an initramfs can be.
const RAMFS_MAGIC: u64 = 0x8584_58f6;
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Moves /dev, /proc, /sys and /run, with all that is mounted below them, into the new root. What was already moved
/// by an earlier try stays.
///
/// # Errors
/// A mount that cannot be moved.
pub fn move_mounts(newroot: &Path) -> Result<(), RootError> {
    for name in MOVED {
        let (from, to) = (Path::new("/").join(name), newroot.join(name));
        make_dir(&to)?;
        match mount_move(&*from, &*to) {
            Ok(()) => {}
            // Not a mount point: nothing is there to move.
            Err(Errno::INVAL) => tracing::debug!(%name, "nothing mounted here to move"),
            Err(error) => {
                return Err(RootError::during(format_args!("move {} to {}", from.display(), to.display()))(error));
            }
        }
    }
    Ok(())
}

/// Makes the new root the root of the calling process (of all its threads, unless one unshared that).
///
/// # Errors
/// chroot(2) is refused.
pub fn enter(newroot: &Path) -> Result<(), RootError> {
    let failed = |source| RootError { what: format!("enter {}", newroot.display()), source };
    chroot(newroot).map_err(failed)?;
    chdir("/").map_err(failed)
}

/// Puts the new root in the place of the initramfs, enters it, and deletes what was in the initramfs, which frees its
/// memory. Refuses if `/` is not an initramfs: nothing else is ever deleted. Returns how many files were.
///
/// # Errors
/// [`Errno::PERM`] if `/` is not an initramfs or `newroot` is no other file system; otherwise the step that failed.
pub fn switch(newroot: &Path) -> Result<u64, RootError> {
    let failed = |what: &'static str| move |source| RootError { what: what.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = openat(CWD, "/", flags, Mode::empty()).map_err(failed("open /"))?;
    let kind = fstatfs(&old).map_err(failed("look at /"))?.f_type;
    if ![RAMFS_MAGIC, TMPFS_MAGIC].map(i128::from).contains(&i128::from(kind)) {
        return Err(failed("leave the initramfs: / is none")(Errno::PERM));
    }
    let device = fstat(&old).map_err(failed("look at /"))?.st_dev;
    if stat(newroot).map_err(failed("look at the new root"))?.st_dev == device {
        return Err(failed("leave the initramfs: nothing is mounted on the new root")(Errno::PERM));
    }
    chdir(newroot).map_err(failed("enter the new root"))?;
    mount_move(".", "/").map_err(failed("move the new root to /"))?;
    chroot(".").map_err(failed("make the new root /"))?;
    chdir("/").map_err(failed("enter the new root"))?;
    // From here on init can start; what cannot be deleted costs memory, not the boot.
    let Removed { inodes, kept } = remove_below(old.as_fd(), Some(device)).unwrap_or_else(|error| {
        tracing::warn!(%error, "the initramfs could not be deleted");
        Removed::default()
    });
    tracing::debug!(inodes, kept, "initramfs deleted");
    Ok(inodes)
}

/// [`move_mounts`] and [`switch`], for a process that does both.
///
/// # Errors
/// As those.
pub fn move_mounts_and_switch(newroot: &Path) -> Result<u64, RootError> {
    move_mounts(newroot)?;
    switch(newroot)
}

/// Becomes init, with an empty signal mask. Returns only if that fails.
///
/// # Errors
/// The program is missing, is not executable, or lacks its loader.
pub fn exec_init(init: &str, args: &[String]) -> Result<Infallible, RootError> {
    let error = Command::new(init).args(args).exec();
    Err(RootError::io(format_args!("start {init} as init (is it in the image?)"))(error))
}
