//! What a layer of a container image takes away of those below it (OCI image-spec, "Whiteouts").

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &[u8] = b".wh.";
/// Names that AUFS kept for itself.
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an entry takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// The file or directory of this name.
    Of(Vec<u8>),
    /// What is in the directory of this name.
    Content(Vec<u8>),
    /// It was a matter of the file system that the layer was made on.
    Nothing,
}

impl Whiteout {
    /// What the entry `name` takes away; `None` if it is no whiteout.
    ///
    /// # Errors
    /// Where it names what cannot be named.
    pub(super) fn parse(name: &[u8]) -> Result<Option<Self>, &'static str> {
        let end = name.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        let start = name[..end].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (dir, base) = name[..end].split_at(start);
        Ok(match base.strip_prefix(PREFIX) {
            None => None,
            Some(_) if base == OPAQUE => Some(Self::Content(dir.to_owned())),
            Some(_) if base.starts_with(META_PREFIX) => Some(Self::Nothing),
            Some(b"" | b"." | b"..") => return Err("takes away what has no name"),
            Some(victim) => Some(Self::Of([dir, victim].concat())),
        })
    }
}

/// A layer that is being applied.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// What it brought itself, and the directories above: only what lies below this layer is taken away.
    own: HashSet<PathBuf>,
    /// The directory that was asked for last, and where it lies: entries come directory by directory.
    last: Option<(PathBuf, PathBuf)>,
}

impl Layer {
    /// It brings what lies at `path` in the tree at `target`.
    pub(super) fn add(&mut self, target: &Path, path: &Path) {
        for path in path.ancestors().take_while(|path| *path != target) {
            if !self.own.insert(path.to_owned()) {
                break;
            }
        }
    }

    /// Where the directory `above` lies, if that was asked last.
    pub(super) fn known(&self, above: &Path) -> Option<PathBuf> {
        self.last.as_ref().filter(|(known, _)| known == above).map(|(_, place)| place.clone())
    }

    pub(super) fn remember(&mut self, above: &Path, place: &Path) {
        self.last = Some((above.to_owned(), place.to_owned()));
    }

    /// Directories or links have changed.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Takes away what lies at `path`, but for what this layer brought. Returns what is gone.
    pub(super) fn remove(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let is_dir = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata.is_dir(),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(vec![]);
            }
            Err(error) => return Err(error),
        };
        match (self.own.contains(path), is_dir) {
            (true, true) => self.clear(path),
            (true, false) => Ok(vec![]),
            (false, true) => fs::remove_dir_all(path).map(|()| vec![path.to_owned()]),
            (false, false) => fs::remove_file(path).map(|()| vec![path.to_owned()]),
        }
    }

    /// Takes away what lies in the directory `path`, but for what this layer brought.
    pub(super) fn clear(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut gone = vec![];
        for entry in fs::read_dir(path)? {
            gone.extend(self.remove(&entry?.path())?);
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_name_what_they_take_away_and_nothing_outside() {
        let parse = |name: &str| Whiteout::parse(name.as_bytes());
        assert_eq!(parse("etc/.wh.motd"), Ok(Some(Whiteout::Of(b"etc/motd".to_vec()))));
        assert_eq!(parse(".wh.motd"), Ok(Some(Whiteout::Of(b"motd".to_vec()))));
        assert_eq!(parse("etc/.wh..wh..opq"), Ok(Some(Whiteout::Content(b"etc/".to_vec()))));
        assert_eq!(parse("etc/.wh..wh.plnk/"), Ok(Some(Whiteout::Nothing)));
        assert_eq!(parse("etc/.whatever"), Ok(None));
        for bad in ["etc/.wh.", "etc/.wh...", ".wh..", "etc/.wh.../"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
