//! The file systems that everything else needs.

use std::path::Path;

use rustix::fs::stat;
use rustix::mount::{MountFlags, mount};

use super::error::{RootError, make_dir};

/// Target, type, flags, options.
type Early = (&'static str, &'static str, MountFlags, &'static core::ffi::CStr);

const CLOSED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// As systemd mounts them, which finds them there after the switch and leaves them. /run may execute: the agent's
/// binary moves there.
const EARLY: [Early; 5] = [
    ("/proc", "proc", CLOSED, c""),
    ("/sys", "sysfs", CLOSED, c""),
    ("/dev", "devtmpfs", MountFlags::NOSUID, c"mode=0755"),
    ("/dev/pts", "devpts", MountFlags::NOSUID.union(MountFlags::NOEXEC), c"mode=620,gid=5,ptmxmode=666"),
    ("/run", "tmpfs", MountFlags::NOSUID.union(MountFlags::NODEV), c"mode=0755,size=20%"),
];

/// Whether something is mounted on the directory. Its device differs from its parent's.
pub(super) fn is_mounted(path: &Path) -> Result<bool, RootError> {
    let device = |path: &Path| stat(path).map(|stat| stat.st_dev).map_err(RootError::during("look at a directory"));
    Ok(device(path)? != device(&path.join(".."))?)
}

/// Mounts /proc, /sys, /dev, /dev/pts and /run, each unless it is mounted already.
///
/// # Errors
/// The first mount that is refused.
pub fn mount_early() -> Result<(), RootError> {
    for (target, kind, flags, options) in EARLY {
        let path = Path::new(target);
        make_dir(path)?;
        if !is_mounted(path)? {
            mount(kind, path, kind, flags, options)
                .map_err(RootError::during(format_args!("mount {kind} on {target}")))?;
        }
    }
    Ok(())
}
