//! Directories of a tree, found as a process with that tree as its root would find them.
//!
//! openat2(2) with `RESOLVE_IN_ROOT` does the same, but neither makes what is missing nor exists before Linux 5.6 (EL8
//! has 4.18); walking with one `O_NOFOLLOW` open per component is as safe against links that are changed meanwhile.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, readlinkat};
use rustix::io::Errno;

/// Links followed in one path before it counts as a loop; the kernel's own bound (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Every directory on the way is opened like this.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that counts as `/`.
#[derive(Debug)]
pub(crate) struct RootDir(OwnedFd);

impl RootDir {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Self)
    }

    /// The directory `path` below the root, through links that are resolved inside the root; `..` stops at the root.
    /// With `create`, what is missing is made (0755), also where a dangling link points.
    pub(crate) fn dir(&self, path: impl AsRef<[u8]>, create: bool) -> Result<OwnedFd, Errno> {
        let mut above: Vec<OwnedFd> = vec![];
        let mut left: VecDeque<Vec<u8>> = components(path.as_ref()).collect();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == b".." {
                above.pop();
                continue;
            }
            let current = above.last().unwrap_or(&self.0).as_fd();
            match openat(current, &name[..], DIRECTORY, Mode::empty()) {
                Ok(next) => above.push(next),
                Err(Errno::NOENT) if create => above.push(make(current, &name)?),
                // A link: NOTDIR because of O_DIRECTORY, LOOP on other kernels. Or a file, which readlink tells.
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP);
                    }
                    let target = match readlinkat(current, &name[..], vec![]) {
                        Ok(target) => target.into_bytes(),
                        Err(Errno::INVAL) => return Err(Errno::NOTDIR),
                        Err(error) => return Err(error),
                    };
                    if target.starts_with(b"/") {
                        above.clear();
                    }
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(component);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        match above.pop() {
            Some(found) => Ok(found),
            None => self.0.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE)),
        }
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

fn make(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => openat(parent, name, DIRECTORY, Mode::empty()),
        Err(error) => Err(error),
    }
}
