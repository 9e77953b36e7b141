//! Copying a tree with everything an inode can have: owner, mode, times, extended attributes (with capabilities and
//! ACLs), hard links, devices, holes.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chmodat, chownat, fstat,
    ftruncate, linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::RootError;

/// Read at once.
const BUFFER: usize = 1024 * 1024;
/// A block of zeros becomes a hole.
const BLOCK: usize = 4096;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const MODE_BITS: u32 = 0o7777;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Inodes, hard links counted once.
    pub(super) inodes: u64,
    /// Bytes of regular files, holes included.
    pub(super) bytes: u64,
    /// Extended attributes that the target's file system cannot hold (tmpfs: `user.` before Linux 6.6).
    pub(super) dropped_attributes: u64,
}

/// Copies what is in the directory `from`, and its own attributes, into the existing directory `to`.
pub(super) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<Copied, RootError> {
    let mut copy = Copy {
        root: to,
        links: BTreeMap::new(),
        copied: Copied::default(),
        path: PathBuf::new(),
        buffer: vec![0; BUFFER],
    };
    let done = copy.directory(from, to).and_then(|()| copy.attributes(from, to, c".", &fstat(from)?));
    done.map_err(RootError::during(format_args!("copy /{} of the image", copy.path.display())))?;
    Ok(copy.copied)
}

struct Copy<'a> {
    root: BorrowedFd<'a>,
    /// First copy of each inode with several names, relative to the target.
    links: BTreeMap<(u64, u64), PathBuf>,
    copied: Copied,
    /// Where we are, for the message.
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Copy<'_> {
    fn directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                self.path.push(OsStr::from_bytes(name.to_bytes()));
                self.entry(from, to, name)?;
                self.path.pop();
            }
        }
        Ok(())
    }

    fn entry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return linkat(self.root, first, to, name, AtFlags::empty());
            }
            self.links.insert((stat.st_dev, stat.st_ino), self.path.clone());
        }
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU)?;
                let (from, to): (OwnedFd, OwnedFd) =
                    (openat(from, name, DIRECTORY, Mode::empty())?, openat(to, name, DIRECTORY, Mode::empty())?);
                self.directory(from.as_fd(), to.as_fd())?;
            }
            FileType::RegularFile => self.file(from, to, name)?,
            FileType::Symlink => symlinkat(readlinkat(from, name, vec![])?, to, name)?,
            FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice => {
                mknodat(to, name, kind, Mode::RUSR, stat.st_rdev)?;
            }
            FileType::Unknown => return Err(Errno::INVAL),
        }
        self.copied.inodes += 1;
        self.attributes(from, to, name, &stat)
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut source = File::from(openat(from, name, read, Mode::empty())?);
        let target = File::from(openat(to, name, write, Mode::RUSR | Mode::WUSR)?);
        let mut offset = 0u64;
        loop {
            let len = match source.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            };
            let data = self.buffer.get(..len).unwrap_or_default();
            write_around_holes(&target, data, offset)?;
            offset += len as u64;
        }
        self.copied.bytes += offset;
        // The file may end in a hole.
        ftruncate(&target, offset)
    }

    /// Owner before mode and capabilities, which chown(2) takes away; times last.
    fn attributes(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            chmodat(to, name, Mode::from_raw_mode(stat.st_mode & MODE_BITS), AtFlags::empty())?;
        }
        self.extended(&by_fd(from, name), &by_fd(to, name))?;
        let times = Timestamps {
            last_access: timespec(stat.st_atime, stat.st_atime_nsec)?,
            last_modification: timespec(stat.st_mtime, stat.st_mtime_nsec)?,
        };
        utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn extended(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let names = match xattr::list(from) {
            Ok(names) => names,
            Err(error) => match errno(error) {
                Errno::OPNOTSUPP => return Ok(()),
                error => return Err(error),
            },
        };
        for name in names {
            // overlayfs's own notes about a layer are no part of the tree.
            if name.as_bytes().starts_with(b"trusted.overlay.") {
                continue;
            }
            let Some(value) = xattr::get(from, &name).map_err(errno)? else { continue };
            match xattr::set(to, &name, &value).map_err(errno) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => self.copied.dropped_attributes += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A path for calls that know no directory descriptors.
fn by_fd(dir: BorrowedFd<'_>, name: &CStr) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(OsStr::from_bytes(name.to_bytes()))
}

fn timespec(secs: impl TryInto<i64>, nanos: impl TryInto<i64>) -> Result<Timespec, Errno> {
    let (Ok(tv_sec), Ok(nanos)) = (secs.try_into(), nanos.try_into()) else { return Err(Errno::OVERFLOW) };
    Ok(Timespec { tv_sec, tv_nsec: nanos })
}

/// Writes runs of blocks that are not all zero. `offset` is a multiple of the block except after a short read, where
/// the blocks are cut differently and no hole is lost but one of less than a block.
fn write_around_holes(target: &File, data: &[u8], offset: u64) -> Result<(), Errno> {
    let mut run: Option<(usize, usize)> = None;
    let write = |run: Option<(usize, usize)>| -> Result<(), Errno> {
        let Some((start, end)) = run else { return Ok(()) };
        let bytes = data.get(start..end).unwrap_or_default();
        target
            .write_all_at(bytes, offset + start as u64)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    for (number, block) in data.chunks(BLOCK).enumerate() {
        let start = number * BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            write(run.take())?;
        } else {
            run = Some((run.map_or(start, |(first, _)| first), start + block.len()));
        }
    }
    write(run)
}

/// Opens a directory to copy from or to.
pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, RootError> {
    let what = RootError::during(format!("open the directory {}", path.display()));
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(what)
}

/// Gives the directory `to` owner, mode, times and extended attributes of the directory `from`.
pub(super) fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), RootError> {
    let mut copy =
        Copy { root: to, links: BTreeMap::new(), copied: Copied::default(), path: PathBuf::new(), buffer: vec![] };
    let dot = CString::from(c".");
    fstat(from)
        .and_then(|stat| copy.attributes(from, to, &dot, &stat))
        .map_err(RootError::during("copy the attributes of a directory"))
}
