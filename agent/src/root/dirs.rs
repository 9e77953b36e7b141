//! Directories that are tmpfs of their own: overlayfs cannot be the upper layer of another overlay, and what programs
//! throw away must not fill the root.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dir, Mode, fchmod};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_move};

use super::assemble::RootSpec;
use super::copy::{copy_attributes, copy_tree, open_dir};
use super::error::{RootError, make_dir};
use super::tmpfs::{Tmpfs, Undo};
use crate::overlay::RootDir;

/// Mode of a directory that the image lacks: everybody's for temporary files, else root's.
fn mode_of(path: &str) -> u32 {
    match path {
        "tmp" | "var/tmp" => 0o1777,
        _ => 0o755,
    }
}

/// Mounts a tmpfs over each directory, with the image's content, owner and mode.
pub(super) fn mount_dirs(spec: &RootSpec<'_>, undo: &mut Undo, notes: &mut Vec<String>) -> Result<(), RootError> {
    let mut dirs: Vec<&str> = spec.tmpfs_dirs.iter().map(|path| path.trim_matches('/')).collect();
    // Parents first: what lies in a parent is copied before a child is mounted over it.
    dirs.sort_unstable();
    dirs.dedup();
    for path in dirs {
        if !wulfpack_shared::overlay::is_clean(path) {
            notes.push(format!("{path:?} cannot be a tmpfs of its own: it is not a clean path below the root"));
            continue;
        }
        match mount_dir(spec, path, undo) {
            Ok(()) => {}
            // The image has a file there, or links in a circle: the node boots without this tmpfs.
            Err(error) if matches!(error.source, Errno::NOTDIR | Errno::LOOP) => notes.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_empty(dir: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn mount_dir(spec: &RootSpec<'_>, path: &str, undo: &mut Undo) -> Result<(), RootError> {
    let during = || RootError::during(format!("make /{path} a tmpfs of its own"));
    let root = RootDir::open(spec.newroot).map_err(during())?;
    let target = match root.dir(path, false) {
        Err(Errno::NOENT) => {
            let made = root.dir(path, true).map_err(during())?;
            fchmod(&made, Mode::from_raw_mode(mode_of(path))).map_err(during())?;
            made
        }
        found => found.map_err(during())?,
    };
    // Filled aside, so that nobody ever sees it half full, and moved into place by descriptor: the path may lead
    // through links of the image.
    let staging = spec.work.join("staging");
    make_dir(&staging)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let flags = if holds_programs(path) { MountFlags::empty() } else { flags };
    Tmpfs { size: spec.memory.upper, mode: 0o755, noswap: false, flags, name: "wulfpack-dir" }.mount(&staging)?;
    let mut filling = Undo::default();
    filling.add(&staging);
    let filled = open_dir(&staging)?;
    if is_empty(&target).map_err(during())? {
        copy_attributes(target.as_fd(), filled.as_fd())?;
    } else {
        copy_tree(target.as_fd(), filled.as_fd())?;
    }
    let place = Path::new("/proc/self/fd").join(target.as_raw_fd().to_string());
    mount_move(&*staging, &*place).map_err(during())?;
    filling.keep();
    // Beneath the root's own mount, and gone with it.
    undo.add(&std::fs::read_link(&place).map_err(RootError::io(format!("find /{path}")))?);
    Ok(())
}

/// Container stores hold setuid programs and device nodes.
fn holds_programs(path: &str) -> bool {
    path != "tmp" && path != "var/tmp"
}
