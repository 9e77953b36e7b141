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
    /// A regular file whose content the receiver said it has.
    Known {
        /// Its hash.
        hash: Hash,
        /// Its length in bytes.
        len: u64,
    },
    /// A regular file as it travels: made smaller once for all nodes that get it. Nothing but a message holds it.
    Packed {
        /// Hash of the content.
        hash: Hash,
        /// Length of the content in bytes.
        len: u64,
        /// The content as one frame of zstd (RFC 8878).
        zstd: Bytes,
    },
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
    /// What a running system does when some of it has changed.
    pub reload: Vec<Reload>,
}

/// Units of the running system that read files of an overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Entries, or directories of entries, whose change counts; none means all.
    pub paths: Vec<String>,
    /// systemd units, as `systemctl` takes them. Units that do not run are left alone.
    pub units: Vec<String>,
    /// Restart them, where they would be reloaded otherwise (or restarted if they cannot reload).
    pub restart: bool,
}

impl Reload {
    /// Whether a change of `path` counts.
    pub fn is_for(&self, path: &str) -> bool {
        let below =
            |dir: &String| path.strip_prefix(dir.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.paths.is_empty() || self.paths.iter().any(below)
    }
}

impl Bundle {
    /// Content hash: equal for equal entries, whatever node they are for, and whether or not contents travel along.
    pub fn hash(&self) -> Hash {
        Hash::of(&wire::encode(&self.clone().without(|_| true)))
    }

    /// The same without the contents of files that the receiver has.
    #[must_use]
    pub fn without(mut self, has: impl Fn(&Hash) -> bool) -> Self {
        for entry in &mut self.entries {
            let (hash, len) = match &entry.kind {
                EntryKind::File(bytes) => (Hash::of(bytes), bytes.len() as u64),
                EntryKind::Packed { hash, len, .. } => (*hash, *len),
                EntryKind::Directory | EntryKind::Symlink(_) | EntryKind::Absent | EntryKind::Known { .. } => continue,
            };
            if has(&hash) {
                entry.kind = EntryKind::Known { hash, len };
            }
        }
        self
    }

    /// Bytes of all files, as they lie here.
    pub fn len(&self) -> usize {
        let len = |entry: &Entry| match &entry.kind {
            EntryKind::File(bytes) | EntryKind::Packed { zstd: bytes, .. } => bytes.len(),
            EntryKind::Directory | EntryKind::Symlink(_) | EntryKind::Absent | EntryKind::Known { .. } => 0,
        };
        self.entries.iter().map(len).sum()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What a node runs of one kind of overlays: equal for equal bundles in equal order. The runtime overlays of a node, and of the
/// head's answer, are compared by it.
pub fn set_hash(bundles: &[Bundle], context: Context) -> Hash {
    let hashes: Vec<Hash> = bundles.iter().filter(|bundle| bundle.context == context).map(Bundle::hash).collect();
    hash_of_set(&hashes)
}

/// [`set_hash`] of bundles that have these hashes, in their order.
pub fn hash_of_set(bundles: &[Hash]) -> Hash {
    // As a vector is encoded.
    Hash::of(&wire::encode(&bundles.to_vec()))
}

/// Whether `path` may stand in an [`Entry`]: relative, not empty, no empty, `.` or `..` component, no NUL.
pub fn is_clean(path: &str) -> bool {
    !path.is_empty() && !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(content: &'static [u8]) -> Bundle {
        let kind = EntryKind::File(Bytes::from_static(content));
        let entry = Entry { path: "etc/x".into(), kind, mode: 0o644, uid: 0, gid: 0, secret: false };
        let name = "x".parse().unwrap();
        Bundle { name, context: Context::Runtime, entries: vec![entry], reload: vec![] }
    }

    #[test]
    fn a_hash_is_the_same_with_and_without_the_contents() {
        let (one, two) = (bundle(b"1"), bundle(b"2"));
        assert_ne!(one.hash(), two.hash());
        let without = one.clone().without(|hash| *hash == Hash::of(b"1"));
        assert_ne!(without, one);
        assert_eq!((without.hash(), without.len()), (one.hash(), 0));
        assert_eq!(one.clone().without(|_| false), one);
        let mut packed = one.clone();
        packed.entries[0].kind = EntryKind::Packed { hash: Hash::of(b"1"), len: 1, zstd: Bytes::from_static(b"frame") };
        assert_eq!((packed.hash(), packed.len()), (one.hash(), 5));
        assert_eq!(set_hash(std::slice::from_ref(&one), Context::Runtime), set_hash(&[without], Context::Runtime));
        assert_ne!(set_hash(&[one.clone(), two.clone()], Context::Runtime), set_hash(&[two, one], Context::Runtime));
    }

    #[test]
    fn a_reload_is_for_its_paths_and_what_is_below() {
        let reload = Reload { paths: vec!["etc/x".into()], units: vec![], restart: false };
        assert!(
            reload.is_for("etc/x") && reload.is_for("etc/x/y") && !reload.is_for("etc/xy") && !reload.is_for("etc")
        );
        assert!(Reload { paths: vec![], ..reload }.is_for("anything"));
    }
}
