//! Owner, mode, time and extended attributes of a file.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

/// Labels of the head say nothing on a node; those of an image are computed from its own file contexts.
const SELINUX: &str = "security.selinux";

/// What a file is beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: Vec<(OsString, Vec<u8>)>,
}

impl Meta {
    /// Of a directory that nobody described.
    pub(super) fn directory() -> Self {
        Self { mode: 0o755, ..Self::default() }
    }

    /// Of the file at `path`; links are not followed.
    pub(super) fn read(path: &Path, metadata: &fs::Metadata) -> io::Result<Self> {
        let mut xattrs = vec![];
        match xattr::list(path) {
            Ok(names) => {
                for name in names.filter(|name| name != OsStr::new(SELINUX)) {
                    // Removed in between, or hidden from us: not there.
                    if let Some(value) = xattr::get(path, &name)? {
                        xattrs.push((name, value));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
        let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Ok(Self {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: (metadata.mtime(), nanos),
            xattrs,
        })
    }

    pub(super) fn add_xattr(&mut self, name: OsString, value: Vec<u8>) {
        if name != OsStr::new(SELINUX) {
            self.xattrs.retain(|(known, _)| *known != name);
            self.xattrs.push((name, value));
        }
    }
}

/// Gives the file at `path` its owner, mode and extended attributes. In this order: a change of owner takes setuid bits and
/// capabilities away (chown(2)), a change of mode alters an access control list.
pub(super) fn apply(path: &Path, meta: &Meta, link: bool) -> io::Result<()> {
    lchown(path, Some(meta.uid), Some(meta.gid))?;
    if !link {
        fs::set_permissions(path, Permissions::from_mode(meta.mode))?;
    }
    for (name, value) in &meta.xattrs {
        set_xattr(path, name, value)?;
    }
    Ok(())
}

/// Sets one extended attribute.
pub(super) fn set_xattr(path: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
    xattr::set(path, name, value).map_err(|error| {
        io::Error::new(error.kind(), format!("extended attribute {}: {error}", name.to_string_lossy()))
    })
}

/// Sets the time of the last change: the last thing to do to a file, and to a directory once everything is in it.
pub(super) fn set_time(path: &Path, (secs, nanos): (i64, u32)) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs, tv_nsec: nanos.into() },
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
