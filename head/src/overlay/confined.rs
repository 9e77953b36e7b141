//! Reading below a directory and nowhere else, as a process would whose root it is.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use minijinja::{Error, ErrorKind};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2, readlinkat};
use wulfpack_shared::limits::OVERLAYS_MAX;

/// A directory that counts as `/`.
pub(super) struct Confined(OwnedFd);

fn failed(path: &str, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{path}: {error}"))
}

impl Confined {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(root, flags, Mode::empty()).map(Self).map_err(|error| failed(&root.display().to_string(), error))
    }

    /// The text of a file. Links are followed inside the directory only (openat2(2), `RESOLVE_IN_ROOT`).
    pub(super) fn text(&self, path: &str) -> Result<String, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
        let file = File::from(file.map_err(|error| failed(path, error))?);
        if !file.metadata().map_err(|error| failed(path, error))?.is_file() {
            return Err(failed(path, "it is no regular file"));
        }
        let mut bytes = vec![];
        file.take(OVERLAYS_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(path, error))?;
        if bytes.len() > OVERLAYS_MAX {
            return Err(failed(path, "it is larger than the overlays of a node may be"));
        }
        String::from_utf8(bytes).map_err(|error| failed(path, error))
    }

    /// Whether there is something at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.0, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).is_ok()
    }

    /// Where a link points.
    pub(super) fn link(&self, path: &str) -> Result<String, Error> {
        let (parent, name) = path.trim_matches('/').rsplit_once('/').unwrap_or((".", path.trim_matches('/')));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat2(&self.0, parent, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
        let dir = dir.map_err(|error| failed(path, error))?;
        let target = readlinkat(&dir, name, vec![]).map_err(|error| failed(path, error))?;
        target.into_string().map_err(|error| failed(path, error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_path_and_no_link_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("passwd"), "outside").unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "inside").unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("../passwd", root.join("up")).unwrap();
        let confined = Confined::open(&root).unwrap();
        assert_eq!(confined.text("absolute").unwrap(), "inside");
        for path in ["up", "../passwd", "/../passwd", "etc", "etc/../../passwd"] {
            assert!(confined.text(path).is_err(), "{path}");
        }
        assert_eq!(confined.link("/absolute").unwrap(), "/etc/passwd");
        assert!(confined.link("etc/passwd").is_err());
    }
}
