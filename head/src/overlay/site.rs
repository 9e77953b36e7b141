//! The site's overlays on disk: what commands change. A shipped overlay is copied to the site before its first change.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use wulfpack_shared::id::OverlayName;
use wulfpack_shared::overlay::is_clean;

use super::attributes::{Attributes, Book};
use super::render::RenderError;
use super::shipped::{self, Content};
use super::source;

/// Where an overlay comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Made or changed here.
    Site,
    /// As it was shipped.
    Shipped,
}

/// The overlays of this head, as files.
#[derive(Clone, Debug)]
pub struct Site {
    site: PathBuf,
    data: PathBuf,
}

/// A path of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFile {
    /// Below `rootfs`.
    pub path: String,
    /// Permissions on nodes, unless `overlay.yaml` says otherwise.
    pub mode: u32,
    /// Owner on nodes, likewise.
    pub uid: u32,
    /// Group on nodes, likewise.
    pub gid: u32,
    /// Of files that are text, what is in it; of links, where they point.
    pub text: Option<String>,
}

/// Why a change cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// There is no such overlay.
    #[error("there is no overlay {0}; \"wulf overlay list\" names those there are")]
    None(String),
    /// A path does not stay below `rootfs`.
    #[error("{0:?} is no path below the overlay's rootfs")]
    Path(String),
    /// It is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// Only the site's own can be removed.
    #[error("overlay {0} is shipped, and has no change of this site that could be removed")]
    Shipped(String),
    /// The system says no.
    #[error("{path}: {source}")]
    Io {
        /// Which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error(transparent)]
    Render(#[from] RenderError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SiteError {
    let path = path.to_owned();
    move |source| SiteError::Io { path, source }
}

impl Site {
    /// Those of the site in `site`, shipped ones in `data` or built in.
    pub fn new(site: PathBuf, data: PathBuf) -> Self {
        Self { site, data }
    }

    /// All overlays and where they come from.
    pub fn list(&self) -> Result<BTreeMap<String, Origin>, SiteError> {
        let mut all: BTreeMap<String, Origin> =
            shipped::OVERLAYS.iter().map(|overlay| (overlay.name.to_owned(), Origin::Shipped)).collect();
        for (dir, origin) in [(&self.data, Origin::Shipped), (&self.site, Origin::Site)] {
            let entries = match fs::read_dir(dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(at(dir)(error)),
            };
            for entry in entries.flatten() {
                if let (Ok(name), true) = (entry.file_name().into_string(), entry.path().is_dir()) {
                    all.insert(name, origin);
                }
            }
        }
        Ok(all)
    }

    /// Files of an overlay as nodes get them, and the text of those that are text.
    pub fn files(&self, name: &OverlayName) -> Result<Vec<SiteFile>, SiteError> {
        let overlay = source::find(&[self.site.clone(), self.data.clone()], name)
            .map_err(|error| super::render::fail(name, error.file, error.message))?
            .ok_or_else(|| SiteError::None(name.to_string()))?;
        let text = |kind| match kind {
            source::ItemKind::Template(text) => Some(text),
            source::ItemKind::File(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            source::ItemKind::Symlink(target) => Some(format!("-> {target}\n")),
            source::ItemKind::Directory { .. } => None,
        };
        let file = |source::Item { path, kind, mode, uid, gid }| SiteFile { path, mode, uid, gid, text: text(kind) };
        Ok(overlay.items.into_iter().map(file).collect())
    }

    /// Makes an empty overlay.
    pub fn create(&self, name: &OverlayName) -> Result<(), SiteError> {
        if self.list()?.contains_key(name.as_str()) {
            return Err(SiteError::Exists(format!("overlay {name}")));
        }
        let root = self.site.join(name.as_str()).join("rootfs");
        fs::create_dir_all(&root).map_err(at(&root))
    }

    /// The overlay's directory among the site's; a shipped one is copied there first, whole or not at all.
    pub fn own(&self, name: &OverlayName) -> Result<PathBuf, SiteError> {
        let own = self.site.join(name.as_str());
        if own.is_dir() {
            return Ok(own);
        }
        if !self.list()?.contains_key(name.as_str()) {
            return Err(SiteError::None(name.to_string()));
        }
        fs::create_dir_all(&self.site).map_err(at(&self.site))?;
        let hidden = self.site.join(format!(".{name}.new"));
        remove(&hidden)?;
        let of_data = self.data.join(name.as_str());
        if of_data.is_dir() {
            copy(&of_data, &hidden)?
        } else {
            unpack(name, &hidden)?
        }
        fs::rename(&hidden, &own).map_err(at(&own))?;
        Ok(own)
    }

    /// A path below the overlay's `rootfs` that no link on the way leads out of.
    fn place(&self, name: &OverlayName, path: &str) -> Result<PathBuf, SiteError> {
        let clean = path.trim_matches('/');
        if !is_clean(clean) {
            return Err(SiteError::Path(path.to_owned()));
        }
        let root = self.own(name)?.join("rootfs");
        let mut place = root;
        let parts: Vec<&str> = clean.split('/').collect();
        for (index, part) in parts.iter().enumerate() {
            place.push(part);
            let last = index + 1 == parts.len();
            if !last && place.is_symlink() {
                return Err(SiteError::Path(path.to_owned()));
            }
        }
        Ok(place)
    }

    /// A copy of a file for an editor; empty if there is none.
    pub fn read(&self, name: &OverlayName, path: &str) -> Result<Vec<u8>, SiteError> {
        let place = self.place(name, path)?;
        match fs::read(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            other => other.map_err(at(&place)),
        }
    }

    /// Writes a file, whole or not at all; an existing one keeps its mode unless another is given.
    pub fn write(&self, name: &OverlayName, path: &str, bytes: &[u8], mode: Option<u32>) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        let parent = place.parent().unwrap_or(&self.site);
        fs::create_dir_all(parent).map_err(at(parent))?;
        let before = fs::symlink_metadata(&place).ok().filter(fs::Metadata::is_file);
        let kept = before.map_or(0o644, |data| data.permissions().mode() & 0o7777);
        let mut file = tempfile::NamedTempFile::new_in(parent).map_err(at(parent))?;
        file.write_all(bytes).map_err(at(&place))?;
        file.as_file().set_permissions(Permissions::from_mode(kept)).map_err(at(&place))?;
        file.as_file().sync_all().map_err(at(&place))?;
        file.persist(&place).map_err(|error| at(&place)(error.error))?;
        mode.map_or(Ok(()), |mode| self.chmod(name, path, mode))
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &OverlayName, path: &str, mode: u32) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        fs::create_dir_all(&place).map_err(at(&place))?;
        self.chmod(name, path, mode)
    }

    /// Changes permissions on nodes. The file here has the same ones where the head's own user can read it then; otherwise it stays
    /// readable for the head's group, and what nodes get is written down.
    pub fn chmod(&self, name: &OverlayName, path: &str, mode: u32) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        let data = fs::symlink_metadata(&place).map_err(at(&place))?;
        if data.is_symlink() {
            return Err(SiteError::Path(path.to_owned()));
        }
        let readable = if data.is_dir() { 0o750 } else { 0o440 };
        // A directory here hands its group on; setuid and setgid of files are for nodes alone.
        let here = if data.is_dir() {
            mode & 0o777 | readable | data.permissions().mode() & 0o2000
        } else {
            mode & 0o777 | readable
        };
        fs::set_permissions(&place, Permissions::from_mode(here)).map_err(at(&place))?;
        let same = here & 0o777 == mode;
        self.note(name, path, |attributes| attributes.set_mode((!same).then_some(mode)))
    }

    /// Changes owner and group on nodes, by writing them down: the file here stays the head's to read.
    pub fn chown(&self, name: &OverlayName, path: &str, uid: u32, gid: Option<u32>) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        fs::symlink_metadata(&place).map_err(at(&place))?;
        self.note(name, path, |attributes| {
            attributes.uid = Some(uid);
            attributes.gid = gid.or(attributes.gid);
        })
    }

    /// Writes down what nodes get at a path.
    fn note(&self, name: &OverlayName, path: &str, change: impl FnOnce(&mut Attributes)) -> Result<(), SiteError> {
        self.book(name, |book| book.change(path.trim_matches('/'), change))
    }

    fn book(&self, name: &OverlayName, change: impl FnOnce(&mut Book)) -> Result<(), SiteError> {
        let dir = self.own(name)?;
        let mut book = Book::read(&dir).map_err(|error| super::render::fail(name, error.file, error.message))?;
        let before = book.clone();
        change(&mut book);
        if book == before { Ok(()) } else { book.write(&dir).map_err(at(&dir)) }
    }

    /// Removes a file or directory of an overlay; a file's empty parents too, with `parents`.
    pub fn delete_path(&self, name: &OverlayName, path: &str, parents: bool) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        if !place.is_symlink() && !place.exists() {
            return Err(SiteError::Path(path.to_owned()));
        }
        remove(&place)?;
        self.book(name, |book| book.forget(path.trim_matches('/')))?;
        let root = self.site.join(name.as_str()).join("rootfs");
        let mut above = place.parent();
        while let Some(dir) = above.filter(|dir| parents && *dir != root && fs::remove_dir(dir).is_ok()) {
            above = dir.parent();
        }
        Ok(())
    }

    /// Removes the site's overlay; a shipped one of the same name counts again.
    pub fn delete(&self, name: &OverlayName) -> Result<(), SiteError> {
        let own = self.site.join(name.as_str());
        if own.is_dir() {
            return remove(&own);
        }
        let known = self.list()?.contains_key(name.as_str());
        Err(if known { SiteError::Shipped(name.to_string()) } else { SiteError::None(name.to_string()) })
    }
}

fn remove(path: &Path) -> Result<(), SiteError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(at(path))
}

fn copy(from: &Path, to: &Path) -> Result<(), SiteError> {
    for entry in walkdir::WalkDir::new(from).sort_by_file_name() {
        let entry = entry.map_err(|error| at(from)(error.into()))?;
        let target = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        let kind = entry.file_type();
        let done = if kind.is_dir() {
            fs::create_dir_all(&target)
        } else if kind.is_symlink() {
            fs::read_link(entry.path()).and_then(|link| symlink(link, &target))
        } else {
            fs::copy(entry.path(), &target).map(drop)
        };
        done.map_err(at(&target))?;
    }
    Ok(())
}

fn unpack(name: &OverlayName, to: &Path) -> Result<(), SiteError> {
    let overlay = shipped::find(name.as_str()).ok_or_else(|| SiteError::None(name.to_string()))?;
    let root = to.join("rootfs");
    fs::create_dir_all(&root).map_err(at(&root))?;
    if !overlay.rules.is_empty() {
        let rules = to.join("overlay.yaml");
        fs::write(&rules, overlay.rules).map_err(at(&rules))?;
    }
    for (path, content, mode) in overlay.files {
        let target = root.join(path);
        let parent = target.parent().unwrap_or(&root);
        fs::create_dir_all(parent).map_err(at(parent))?;
        let done = match content {
            Content::Link(link) => symlink(link, &target),
            Content::Text(text) => {
                fs::write(&target, text).and_then(|()| fs::set_permissions(&target, Permissions::from_mode(*mode)))
            }
        };
        done.map_err(at(&target))?;
    }
    Ok(())
}

/// What comments of a template say: `{# node.tags.ntp: Time servers. #}`, variable and text; a comment without one is about all.
pub fn comments(template: &str) -> Vec<(String, String)> {
    let inside = template.split("{#").skip(1).filter_map(|rest| rest.split("#}").next());
    let comment = |text: &str| {
        let text = text.trim().trim_matches('-').split_whitespace().collect::<Vec<_>>().join(" ");
        match text.split_once(": ") {
            Some((name, about)) if !name.contains(' ') => (name.to_owned(), about.to_owned()),
            _ => (String::new(), text),
        }
    };
    inside.map(comment).collect()
}
