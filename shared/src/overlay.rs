//! A rendered overlay, as it travels from the head to the one node it is for: content-addressed, with owners and modes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{Hash, OverlayName};
use crate::wire;

/// When an overlay is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Context {
    /// At boot only, before init.
    System,
    /// At boot and whenever it changes.
    Runtime,
}

/// What one path becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file with this content. It replaces whatever the final component of the path is, a link too.
    File(Bytes),
    /// A directory; an existing one keeps its content.
    Directory,
    /// A symbolic link to this target.
    Symlink(String),
    /// Nothing: the path is removed.
    Absent,
}

/// One path of an overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the root, without `..`; parents that are links in the image are followed inside the root.
    pub path: String,
    /// What it becomes.
    pub kind: EntryKind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Holds a secret: never logged, never shown without being asked for.
    pub secret: bool,
}

/// All entries of one overlay for one node, parents before children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The overlay.
    pub name: OverlayName,
    /// When it is applied.
    pub context: Context,
    /// What it holds.
    pub entries: Vec<Entry>,
}

impl Bundle {
    /// Content hash: equal for equal entries, whatever node they are for.
    pub fn hash(&self) -> Hash {
        Hash::of(&wire::encode(self))
    }

    /// Bytes of all files.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|entry| if let EntryKind::File(bytes) = &entry.kind { bytes.len() } else { 0 }).sum()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Whether `path` may stand in an [`Entry`]: relative, not empty, no empty, `.` or `..` component, no NUL.
pub fn is_clean(path: &str) -> bool {
    !path.is_empty() && !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
