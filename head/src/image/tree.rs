//! The image's tree as the image itself sees it: every path is resolved as a process chrooted into the tree would, so that
//! no link, absolute or full of `..`, ever leads the head to one of its own files.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many links as Linux follows in one path (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// A root file system below a directory of the head.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree below `root`.
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its directory on the head.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The place on the head of the file that `path` means inside the tree, all links followed.
    ///
    /// # Errors
    /// `NotFound` where nothing is there, `ELOOP` after too many links.
    pub(super) fn resolve(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        self.resolve_or(path, |_| Err(io::ErrorKind::NotFound.into()))
    }

    /// Like [`Self::resolve`]; `missing` makes what is not there, or says why not.
    pub(super) fn resolve_or(
        &self,
        path: impl AsRef<Path>,
        mut missing: impl FnMut(&Path) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let mut pending: VecDeque<OsString> = VecDeque::new();
        push_front(&mut pending, path.as_ref());
        let (mut at, mut links) = (PathBuf::new(), 0);
        while let Some(part) = pending.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            let candidate = self.root.join(&at).join(&part);
            let metadata = match std::fs::symlink_metadata(&candidate) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing(&candidate)?;
                    at.push(part);
                    continue;
                }
                other => other?,
            };
            if !metadata.is_symlink() {
                at.push(part);
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = std::fs::read_link(&candidate)?;
            if target.is_absolute() {
                at.clear();
            }
            push_front(&mut pending, &target);
        }
        Ok(self.root.join(at))
    }

    /// The bytes of a file.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let place = self.resolve(path)?;
        // A device or a pipe in its place would block or never end.
        if !std::fs::metadata(&place)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        std::fs::read(place)
    }

    /// The text of a file, empty where there is none. Bytes that are not UTF-8 are replaced.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        match self.read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether a regular file is there.
    pub(super) fn is_file(&self, path: impl AsRef<Path>) -> bool {
        self.resolve(path).is_ok_and(|place| place.is_file())
    }

    /// Whether a directory is there.
    pub(super) fn is_dir(&self, path: impl AsRef<Path>) -> bool {
        self.resolve(path).is_ok_and(|place| place.is_dir())
    }

    /// The names in a directory, sorted; none where there is no such directory. Names that are not UTF-8 are left out.
    pub(super) fn names(&self, dir: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = self.resolve(dir).and_then(std::fs::read_dir) else { return vec![] };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// Puts the parts of `path` in front of what is still to be walked.
fn push_front(pending: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => pending.push_front(name.to_owned()),
            Component::ParentDir => pending.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_the_tree_and_never_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        std::fs::create_dir_all(root.join("usr/lib/modules")).unwrap();
        std::fs::write(root.join("usr/lib/modules/here"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/usr/lib/modules", root.join("absolute")).unwrap();
        symlink("../../../../../../secret", root.join("climbs")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let tree = Tree::new(&root);
        for path in ["lib/modules/here", "/absolute/here", "../../lib/modules/../modules/here"] {
            assert_eq!(tree.read(path).unwrap(), b"inside", "{path}");
        }
        assert_eq!(tree.read("climbs").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(tree.read("../secret").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(tree.read("loop").unwrap_err().raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
        assert_eq!(tree.names("lib/modules"), ["here"]);
    }
}
