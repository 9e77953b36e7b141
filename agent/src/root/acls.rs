//! Access control lists, which squashfs cannot hold: the head puts them into a file of the image's root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, chmodat, fstat, openat, statat, unlinkat, utimensat,
};
use rustix::io::Errno;
use wulfpack_shared::image::{ACLS_FILE, ACLS_MAX, FileAcls, decode_acls};

use super::error::RootError;
use crate::overlay::RootDir;

/// Gives the files of the mounted root their lists back and takes the file that held them away.
pub(super) fn restore(newroot: &Path, notes: &mut Vec<String>) -> Result<(), RootError> {
    let during = |what: &'static str| move |source| RootError { what: what.to_owned(), source };
    let root = RootDir::open(newroot).map_err(during("open the root"))?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(&root, ACLS_FILE, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(during("open the image's list of ACLs")(error)),
    };
    let mut bytes = vec![];
    let read = file.take(ACLS_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(RootError::io("read the image's list of ACLs"))?;
    match decode_acls(&bytes) {
        Ok(files) => set_all(&root, &files, notes)?,
        Err(error) => notes.push(format!("the image's ACLs are not restored: {error}; build the image again")),
    }
    remove_list(&root).map_err(during("remove the image's list of ACLs"))
}

fn set_all(root: &RootDir, files: &[FileAcls], notes: &mut Vec<String>) -> Result<(), RootError> {
    for file in files {
        let path = String::from_utf8_lossy(&file.path);
        let failed = |source| RootError { what: format!("restore the ACLs of /{path}"), source };
        match set(root, file) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => {
                notes.push(
                    "the image's ACLs are not restored: this kernel's tmpfs has none (CONFIG_TMPFS_POSIX_ACL)".into(),
                );
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn set(root: &RootDir, file: &FileAcls) -> Result<(), Errno> {
    let (parent, name) = match file.path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (file.path.get(..slash).unwrap_or_default(), file.path.get(slash + 1..).unwrap_or_default()),
        None => (&b""[..], &file.path[..]),
    };
    let dir = root.dir(parent, false)?;
    let name = if name.is_empty() { b"." } else { name };
    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    // overlayfs refuses ACLs for a file whose layer has none (ovl_set_acl) until the file is in the upper layer; a mode
    // that is set, though it is the same, brings it there.
    chmodat(&dir, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    let path = Path::new("/proc/self/fd").join(dir.as_fd().as_raw_fd().to_string()).join(OsStr::from_bytes(name));
    for (attribute, value) in [("system.posix_acl_access", &file.access), ("system.posix_acl_default", &file.default)] {
        if let Some(value) = value {
            xattr::set(&path, attribute, value).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
    }
    Ok(())
}

/// The root directory keeps its time.
fn remove_list(root: &RootDir) -> Result<(), Errno> {
    let stat = fstat(root)?;
    unlinkat(root, ACLS_FILE, AtFlags::empty())?;
    let nanos = |nanos| i64::try_from(nanos).unwrap_or_default();
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanos(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos(stat.st_mtime_nsec) },
    };
    utimensat(root, ".", &times, AtFlags::empty())
}
