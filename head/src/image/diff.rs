//! What two versions differ in: file by file, and in bytes that have to be moved.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use wulfpack_shared::id::{ImageName, VersionId};

use super::build::{FileEntry, FileKind, Listing};
use super::{ImageError, Library, Version};

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileChange {
    /// Only the later version has it.
    Added,
    /// Only the earlier version has it.
    Removed,
    /// It has another content, or is another kind of file.
    Content,
    /// Owner, mode or extended attributes differ.
    Attributes,
    /// Only its time differs.
    Time,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Inside the tree.
    pub path: String,
    /// How.
    pub change: FileChange,
    /// What it is, or was.
    pub kind: FileKind,
    /// Bytes before and after.
    pub size: (u64, u64),
}

/// What has to be moved to a node that has the earlier version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Chunks of the later version that the earlier one has not.
    pub chunks: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the later version.
    pub of: u64,
}

/// Two versions compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionDiff {
    /// The earlier version.
    pub from: VersionId,
    /// The later one; `None` for the tree as it is.
    pub to: Option<VersionId>,
    /// Files that differ, by path.
    pub files: Vec<FileDiff>,
    /// What has to be moved; `None` for a tree that was not built.
    pub moved: Option<Moved>,
}

impl Library {
    /// Compares two versions of an image; without `to` the first with the tree as it is now.
    ///
    /// # Errors
    /// Where a version does not exist, is damaged, or was built before files were listed.
    pub fn diff(&self, name: &ImageName, from: VersionId, to: Option<VersionId>) -> Result<VersionDiff, ImageError> {
        let before = self.version(name, from)?;
        let old = files(&before)?;
        let Some(to) = to else {
            let new = self.scan(name)?;
            return Ok(VersionDiff { from, to: None, files: compare(&old, &new), moved: None });
        };
        let after = self.version(name, to)?;
        let files = compare(&old, &files(&after)?);
        Ok(VersionDiff { from, to: Some(to), files, moved: Some(moved(&before, &after)?) })
    }
}

fn files(version: &Version) -> Result<Listing, ImageError> {
    version.files().ok_or_else(|| ImageError::NoListing { name: version.name().clone(), id: version.id() })
}

fn moved(before: &Version, after: &Version) -> Result<Moved, ImageError> {
    let (old, new) = (before.read_table()?, after.read_table()?);
    let known: HashSet<_> = old.entries().iter().map(|chunk| chunk.hash).collect();
    let mut moved = Moved { of: after.header().blob.len, ..Moved::default() };
    let mut counted = HashSet::new();
    for chunk in new.entries().iter().filter(|chunk| !known.contains(&chunk.hash)) {
        // The same chunk twice in one image is moved once.
        if counted.insert(chunk.hash) {
            moved.chunks += 1;
            moved.bytes += u64::from(chunk.len);
        }
    }
    Ok(moved)
}

fn compare(old: &Listing, new: &Listing) -> Vec<FileDiff> {
    let mut paths: BTreeMap<&str, (Option<&FileEntry>, Option<&FileEntry>)> = BTreeMap::new();
    for entry in old.entries() {
        paths.entry(&entry.path).or_default().0 = Some(entry);
    }
    for entry in new.entries() {
        paths.entry(&entry.path).or_default().1 = Some(entry);
    }
    let differing = paths.into_iter().filter_map(|(path, pair)| {
        let change = match pair {
            (None, _) => FileChange::Added,
            (_, None) => FileChange::Removed,
            (Some(old), Some(new)) => change(old, new)?,
        };
        let kind = pair.1.or(pair.0)?.kind;
        let size = |entry: Option<&FileEntry>| entry.map_or(0, |entry| entry.size);
        Some(FileDiff { path: path.to_owned(), change, kind, size: (size(pair.0), size(pair.1)) })
    });
    differing.collect()
}

fn change(old: &FileEntry, new: &FileEntry) -> Option<FileChange> {
    let attributes = |entry: &FileEntry| (entry.mode, entry.uid, entry.gid, entry.xattrs, entry.again);
    if (old.kind, old.content) != (new.kind, new.content) {
        Some(FileChange::Content)
    } else if attributes(old) != attributes(new) {
        Some(FileChange::Attributes)
    } else if old.mtime != new.mtime && old.kind != FileKind::Directory {
        Some(FileChange::Time)
    } else {
        None
    }
}
