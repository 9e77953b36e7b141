//! Runtime overlays of a running system: what changed is replaced, what left becomes the image's again, and what somebody edited
//! on the node is kept and reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat, unlinkat};
use rustix::io::Errno;
use wulfpack_shared::id::Hash;
use wulfpack_shared::limits::OVERLAYS_MAX;
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind, Reload, is_clean, set_hash};

use super::apply::{MODE_BITS, apply_entries};
use super::record::{Record, by_path, light};
use super::resolve::RootDir;

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Paths that were made, replaced or given back.
    pub changed: Vec<String>,
    /// Paths that were edited on the node, and are kept.
    pub edited: Vec<String>,
    /// Paths that could not be changed, each with the reason.
    pub failed: Vec<(String, String)>,
    /// What reads the changed files.
    pub reload: Vec<Reload>,
}

/// Contents of the runtime overlays that are on the node unchanged: they need not travel.
pub fn known(root: &Path, record: &Record) -> Result<Vec<Hash>, Errno> {
    let root = RootDir::open(root)?;
    let files = record.above.values().filter(|entry| matches!(entry.kind, EntryKind::Known { .. }));
    let there = files.filter_map(|entry| match content_hash(&root, &entry.path) {
        Ok(Some(hash)) => Some(hash),
        _ => None,
    });
    Ok(there.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Changes the tree at `root` from what `record` says to the runtime overlays in `bundles`; `lower` is the image's own tree.
/// The record then says what is there now. What fails is left as it was and does not stop the rest.
///
/// # Errors
/// The root cannot be opened.
pub fn update(
    root: &Path,
    lower: Option<&Path>,
    record: &mut Record,
    bundles: &[Bundle],
    force: bool,
) -> Result<Updated, Errno> {
    let work = Work {
        root: RootDir::open(root)?,
        lower: lower.map(RootDir::open).transpose()?,
        sources: sources(record),
        force,
    };
    let new = by_path(bundles, Context::Runtime);
    let (mut updated, mut above) = (Updated::default(), BTreeMap::new());
    // Deepest first, so that a directory is empty when its turn comes.
    let left: Vec<&Entry> = record.above.values().rev().filter(|entry| !new.contains_key(&entry.path)).collect();
    for old in left {
        let outcome = work.give_back(old, record.below(&old.path));
        if let Err(old) = updated.note(old, outcome) {
            above.insert(old.path.clone(), old);
        }
    }
    // In the order of the bundles: a parent stands before what is in it.
    let mut seen = BTreeSet::new();
    for path in bundles.iter().filter(|bundle| bundle.context == Context::Runtime).flat_map(|bundle| &bundle.entries) {
        let Some(entry) = new.get(&path.path).filter(|entry| seen.insert(entry.path.clone())) else { continue };
        let old = record.above.get(&entry.path);
        match updated.note(entry, work.put(entry, old)) {
            Ok(()) => {
                above.insert(entry.path.clone(), light(entry.clone()));
            }
            Err(_) => {
                if let Some(old) = old {
                    above.insert(old.path.clone(), old.clone());
                }
            }
        }
    }
    record.above = above;
    record.edited = updated.edited.clone();
    record.runtime = updated.failed.is_empty().then(|| set_hash(bundles, Context::Runtime));
    let reloads = bundles.iter().flat_map(|bundle| &bundle.reload);
    updated.reload = reloads.filter(|reload| updated.changed.iter().any(|path| reload.is_for(path))).cloned().collect();
    Ok(updated)
}

/// Where each content of the runtime overlays lies.
fn sources(record: &Record) -> BTreeMap<Hash, String> {
    let of = |entry: &Entry| match entry.kind {
        EntryKind::Known { hash, .. } => Some((hash, entry.path.clone())),
        _ => None,
    };
    record.above.values().filter_map(of).collect()
}

/// What became of one path.
enum Outcome {
    Unchanged,
    Changed,
    Edited,
}

impl Updated {
    /// Notes it; the error is the entry that stays in charge of the path.
    fn note(&mut self, entry: &Entry, outcome: Result<Outcome, String>) -> Result<(), Entry> {
        let path = entry.path.clone();
        match outcome {
            Ok(Outcome::Unchanged) => return Ok(()),
            Ok(Outcome::Changed) => {
                self.changed.push(path);
                return Ok(());
            }
            Ok(Outcome::Edited) => self.edited.push(path),
            Err(why) => self.failed.push((path, why)),
        }
        Err(entry.clone())
    }
}

struct Work {
    root: RootDir,
    lower: Option<RootDir>,
    sources: BTreeMap<Hash, String>,
    force: bool,
}

impl Work {
    /// The path becomes what it is without the runtime overlays.
    fn give_back(&self, old: &Entry, below: Option<&Entry>) -> Result<Outcome, String> {
        let there = found(&self.root, &old.path).map_err(said)?;
        if !self.force && !is(there.as_ref(), old) {
            return Ok(Outcome::Edited);
        }
        let image = match (below, &self.lower) {
            (Some(below), _) => Some(below.clone()),
            (None, Some(lower)) => read(lower, &old.path)?,
            (None, None) => None,
        };
        match image {
            Some(entry) => self.write(&entry),
            None if old.kind == EntryKind::Directory => self.remove_empty(&old.path),
            None => {
                let outcome = self.write(&Entry { kind: EntryKind::Absent, ..old.clone() })?;
                self.tidy(&old.path);
                Ok(outcome)
            }
        }
    }

    /// The path becomes what the new overlays say.
    fn put(&self, new: &Entry, old: Option<&Entry>) -> Result<Outcome, String> {
        if !is_clean(&new.path) {
            return Err("it is no clean relative path".into());
        }
        let there = found(&self.root, &new.path).map_err(said)?;
        if is(there.as_ref(), new) {
            return Ok(Outcome::Unchanged);
        }
        if !self.force && old.is_some_and(|old| !is(there.as_ref(), old)) {
            return Ok(Outcome::Edited);
        }
        match new.kind {
            EntryKind::Known { hash, .. } => {
                let source = self.sources.get(&hash).ok_or("its content did not come, and is not on the node")?;
                let Some(Entry { kind: EntryKind::File(bytes), .. }) = read(&self.root, source)? else {
                    return Err(format!("its content lay in /{source}, which is gone"));
                };
                if Hash::of(&bytes) != hash {
                    return Err(format!("its content lay in /{source}, which was edited"));
                }
                self.write(&Entry { kind: EntryKind::File(bytes), ..new.clone() })
            }
            _ => self.write(new),
        }
    }

    fn write(&self, entry: &Entry) -> Result<Outcome, String> {
        let applied = apply_entries(&self.root, "runtime", std::slice::from_ref(entry));
        let applied = applied.map_err(|error| format!("{}: {}", error.what, error.source))?;
        Ok(if applied.changed.is_empty() { Outcome::Unchanged } else { Outcome::Changed })
    }

    fn remove_empty(&self, path: &str) -> Result<Outcome, String> {
        let (parent, name) = split(path);
        let Ok(dir) = self.root.dir(parent, false) else { return Ok(Outcome::Unchanged) };
        match unlinkat(&dir, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(Outcome::Changed),
            // It holds what others put there.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::BUSY) => Ok(Outcome::Unchanged),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Removes directories above `path` that are empty and not of the image.
    fn tidy(&self, path: &str) {
        let mut path = path;
        while let Some((parent, _)) = path.rsplit_once('/') {
            let of_image = |lower: &RootDir| lower.dir(parent, false).is_ok();
            if self.lower.as_ref().is_none_or(of_image) || !matches!(self.remove_empty(parent), Ok(Outcome::Changed)) {
                return;
            }
            path = parent;
        }
    }
}

fn said(error: Errno) -> String {
    format!("look at it: {error}")
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What is at `path`, with a file's hash in place of its content.
fn found(root: &RootDir, path: &str) -> Result<Option<Entry>, Errno> {
    let (parent, name) = split(path);
    let dir = match root.dir(parent, false) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => {
            EntryKind::Symlink(String::from_utf8_lossy(readlinkat(&dir, name, vec![])?.as_bytes()).into_owned())
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let mut hasher = blake3::Hasher::new();
            let copied = hasher.update_reader(File::from(openat(&dir, name, flags, Mode::empty())?));
            copied.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            EntryKind::Known {
                hash: Hash(*hasher.finalize().as_bytes()),
                len: u64::try_from(stat.st_size).unwrap_or(0),
            }
        }
        // A device, a socket: nothing that an overlay made.
        _ => EntryKind::Absent,
    };
    Ok(Some(entry(path, kind, &stat)))
}

fn entry(path: &str, kind: EntryKind, stat: &Stat) -> Entry {
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    Entry { path: path.to_owned(), kind, mode: stat.st_mode & MODE_BITS, uid, gid, secret: false }
}

fn content_hash(root: &RootDir, path: &str) -> Result<Option<Hash>, Errno> {
    Ok(match found(root, path)?.map(|entry| entry.kind) {
        Some(EntryKind::Known { hash, .. }) => Some(hash),
        _ => None,
    })
}

/// Whether what was found is what `wanted` says.
fn is(found: Option<&Entry>, wanted: &Entry) -> bool {
    let Some(found) = found else { return wanted.kind == EntryKind::Absent };
    let owned = (found.uid, found.gid) == (wanted.uid, wanted.gid);
    let mode = found.mode & MODE_BITS == wanted.mode & MODE_BITS;
    match (&found.kind, &light(wanted.clone()).kind) {
        (EntryKind::Known { hash: a, .. }, EntryKind::Known { hash: b, .. }) => a == b && owned && mode,
        (EntryKind::Symlink(a), EntryKind::Symlink(b)) => a == b && owned,
        // A directory of the image that is a link leads to the same place.
        (EntryKind::Directory, EntryKind::Directory) => owned && mode,
        _ => false,
    }
}

/// What is at `path` in the image, with its content.
fn read(root: &RootDir, path: &str) -> Result<Option<Entry>, String> {
    let Some(mut entry) = found(root, path).map_err(said)? else { return Ok(None) };
    if entry.kind == EntryKind::Absent {
        return Err("it is a device or a socket in the image".into());
    }
    if let EntryKind::Known { .. } = entry.kind {
        let (parent, name) = split(path);
        let dir = root.dir(parent, false).map_err(said)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(dir.as_fd(), name, flags, Mode::empty()).map_err(said)?);
        let mut bytes = vec![];
        file.take(OVERLAYS_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() > OVERLAYS_MAX {
            return Err("the image's own file is larger than overlays may be together".into());
        }
        entry.kind = EntryKind::File(bytes.into());
    }
    Ok(Some(entry))
}
