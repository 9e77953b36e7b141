//! Entries of an overlay become files, directories, links, or nothing.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags, chownat, fchmod, fchown, fgetxattr, fsetxattr, fstat,
    fsync, openat, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use wulfpack_shared::overlay::{Bundle, Entry, EntryKind, is_clean};

use super::remove::remove_entry;
use super::resolve::RootDir;

/// Name of the file that becomes the entry when it is complete.
const TEMPORARY: &CStr = c".wulfpack-new";
/// Where SELinux keeps the label of a file.
const LABEL: &CStr = c"security.selinux";
/// Longest label.
const LABEL_MAX: usize = 512;
/// Permission bits with setuid, setgid and sticky.
pub(super) const MODE_BITS: u32 = 0o7777;

/// What an overlay changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Paths that were made, replaced or removed, or got another owner or mode.
    pub changed: Vec<String>,
    /// Entries that were already so.
    pub unchanged: usize,
}

/// Why an overlay could not be applied. What stood before it in the list is in place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("overlay {overlay}: cannot {what} /{path}: {}", explain(source))]
pub struct ApplyError {
    /// The overlay.
    pub overlay: String,
    /// The entry, relative to the root.
    pub path: String,
    /// What was being done.
    pub what: &'static str,
    /// Why it failed.
    pub source: Errno,
}

fn explain(error: &Errno) -> String {
    let words = match *error {
        Errno::NOSPC => "the root's memory is full; give the node a larger `root.size` or a smaller overlay",
        Errno::NOTDIR => "a part of the path is a file in the image",
        Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST => "it is a directory in the image; remove it there first",
        Errno::LOOP => "its links go round in a circle",
        Errno::BUSY => "something is mounted there",
        Errno::INVAL => "the path is not a clean relative path, or the entry is unusable",
        _ => return error.to_string(),
    };
    format!("{words} ({error})")
}

/// Puts the overlay's entries into the tree at `root`, in their order. Directories are reached through the image's own
/// links, inside the root, and never replaced; a file or link replaces what stands at the end of its path, atomically.
///
/// # Errors
/// The first entry that cannot be applied.
pub fn apply(root: &Path, bundle: &Bundle) -> Result<Applied, ApplyError> {
    let opened = RootDir::open(root).map_err(|source| ApplyError {
        overlay: bundle.name.to_string(),
        path: String::new(),
        what: "open the root",
        source,
    })?;
    apply_entries(&opened, bundle.name.as_str(), &bundle.entries)
}

/// [`apply`] for entries that are no overlay's.
pub(crate) fn apply_entries(root: &RootDir, overlay: &str, entries: &[Entry]) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    for entry in entries {
        let outcome = if is_clean(&entry.path) { apply_one(root, entry) } else { Err(("use", Errno::INVAL)) };
        match outcome {
            Ok(true) => applied.changed.push(entry.path.clone()),
            Ok(false) => applied.unchanged += 1,
            Err((what, source)) => {
                return Err(ApplyError { overlay: overlay.to_owned(), path: entry.path.clone(), what, source });
            }
        }
    }
    Ok(applied)
}

type Outcome = Result<bool, (&'static str, Errno)>;

fn during(what: &'static str) -> impl FnOnce(Errno) -> (&'static str, Errno) {
    move |error| (what, error)
}

fn apply_one(root: &RootDir, entry: &Entry) -> Outcome {
    let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
    let name = CString::new(name).map_err(|_| ("use", Errno::INVAL))?;
    if let EntryKind::Directory = entry.kind {
        return directory(root, entry).map_err(during("make the directory"));
    }
    let dir = match root.dir(parent, entry.kind != EntryKind::Absent) {
        Err(Errno::NOENT) if entry.kind == EntryKind::Absent => return Ok(false),
        dir => dir.map_err(during("reach the directory of"))?,
    };
    let place = Place { dir, name, entry };
    match &entry.kind {
        EntryKind::File(bytes) => place.file(bytes).map_err(during("write")),
        EntryKind::Symlink(target) => place.link(target).map_err(during("make the link")),
        EntryKind::Absent => {
            let removed = remove_entry(place.dir.as_fd(), &place.name).map_err(during("remove"))?;
            Ok(removed > 0)
        }
        // Contents that the sender left out are put in before.
        EntryKind::Directory | EntryKind::Known { .. } | EntryKind::Packed { .. } => Err(("use", Errno::INVAL)),
    }
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

fn is_owned(stat: &Stat, entry: &Entry) -> bool {
    stat.st_uid == entry.uid && stat.st_gid == entry.gid
}

/// Whether owner and mode are as the entry wants them.
fn is_as_wanted(stat: &Stat, entry: &Entry) -> bool {
    is_owned(stat, entry) && stat.st_mode & MODE_BITS == entry.mode & MODE_BITS
}

/// Owner first: chown(2) takes setuid and setgid away.
fn own(fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), Errno> {
    let (uid, gid) = owner(entry);
    fchown(fd, uid, gid)?;
    fchmod(fd, Mode::from_raw_mode(entry.mode & MODE_BITS))
}

fn directory(root: &RootDir, entry: &Entry) -> Result<bool, Errno> {
    let (made, dir) = match root.dir(&entry.path, false) {
        Ok(dir) => (false, dir),
        Err(Errno::NOENT) => (true, root.dir(&entry.path, true)?),
        Err(error) => return Err(error),
    };
    if is_as_wanted(&fstat(&dir)?, entry) {
        return Ok(made);
    }
    own(dir.as_fd(), entry)?;
    Ok(true)
}

/// Where an entry goes: an open directory and a name in it.
struct Place<'a> {
    dir: OwnedFd,
    name: CString,
    entry: &'a Entry,
}

impl Place<'_> {
    fn stat(&self) -> Result<Option<Stat>, Errno> {
        match statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the temporary name what the entry says, then gives it the entry's name.
    fn replace(&self, make: impl Fn() -> Result<(), Errno>) -> Result<bool, Errno> {
        let made = match make() {
            // Left behind by a process that was killed; the next boot or the next apply clears it.
            Err(Errno::EXIST) => remove_entry(self.dir.as_fd(), TEMPORARY).and_then(|_| make()),
            made => made,
        };
        let renamed = made.and_then(|()| renameat(&self.dir, TEMPORARY, &self.dir, &self.name));
        if let Err(error) = renamed {
            // The first error is the one that helps; a temporary file that stays is removed by the next apply.
            let _ignored = unlinkat(&self.dir, TEMPORARY, AtFlags::empty());
            return Err(error);
        }
        fsync(&self.dir)?;
        Ok(true)
    }

    fn file(&self, bytes: &[u8]) -> Result<bool, Errno> {
        if self.has(bytes)? {
            return Ok(false);
        }
        self.replace(|| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&self.dir, TEMPORARY, flags, Mode::from_raw_mode(0o600))?);
            file.write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            own(file.as_fd(), self.entry)?;
            self.label(file.as_fd());
            fsync(&file)
        })
    }

    /// The label of the file that it replaces, else that of its directory, as a new file would get it from a running policy.
    /// Where there are no labels there is nothing to keep.
    fn label(&self, file: BorrowedFd<'_>) {
        let mut label = [0; LABEL_MAX];
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let of_old =
            openat(&self.dir, &self.name, flags, Mode::empty()).and_then(|old| fgetxattr(&old, LABEL, &mut label));
        if let Ok(len) = of_old.or_else(|_| fgetxattr(&self.dir, LABEL, &mut label))
            && let Some(label) = label.get(..len)
            && let Err(error) = fsetxattr(file, LABEL, label, XattrFlags::empty())
        {
            tracing::debug!(%error, path = %self.entry.path, "not labelled");
        }
    }

    /// Whether the file is there with this content, owner and mode.
    fn has(&self, bytes: &[u8]) -> Result<bool, Errno> {
        let Some(stat) = self.stat()? else { return Ok(false) };
        let same_kind = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !same_kind || !is_as_wanted(&stat, self.entry) || u64::try_from(stat.st_size) != Ok(bytes.len() as u64) {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.dir, &self.name, flags, Mode::empty())?);
        let mut content = Vec::with_capacity(bytes.len());
        let read = file.take(bytes.len() as u64 + 1).read_to_end(&mut content);
        Ok(read.is_ok() && content == bytes)
    }

    fn link(&self, target: &str) -> Result<bool, Errno> {
        if let Some(stat) = self.stat()?
            && FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
            && is_owned(&stat, self.entry)
            && readlinkat(&self.dir, &self.name, vec![])?.as_bytes() == target.as_bytes()
        {
            return Ok(false);
        }
        let (uid, gid) = owner(self.entry);
        self.replace(|| {
            symlinkat(target, &self.dir, TEMPORARY)?;
            chownat(&self.dir, TEMPORARY, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        })
    }
}
