//! The site's overlays on disk: what commands change. A shipped overlay is copied to the site before its first change.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use wulfpack_shared::id::OverlayName;
use wulfpack_shared::overlay::is_clean;

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

    /// Files of an overlay with mode, and the text of those that are text.
    pub fn files(&self, name: &OverlayName) -> Result<Vec<(String, u32, Option<String>)>, SiteError> {
        let overlay = source::find(&[self.site.clone(), self.data.clone()], name)
            .map_err(|error| super::render::fail(name, error.file, error.message))?
            .ok_or_else(|| SiteError::None(name.to_string()))?;
        let text = |kind| match kind {
            source::ItemKind::Template(text) => Some(text),
            source::ItemKind::File(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            source::ItemKind::Symlink(target) => Some(format!("-> {target}\n")),
            source::ItemKind::Directory { .. } => None,
        };
        Ok(overlay.items.into_iter().map(|item| (item.path, item.mode, text(item.kind))).collect())
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
        let mode = mode.or_else(|| before.map(|data| data.permissions().mode() & 0o7777)).unwrap_or(0o644);
        let mut file = tempfile::NamedTempFile::new_in(parent).map_err(at(parent))?;
        file.write_all(bytes).map_err(at(&place))?;
        file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(at(&place))?;
        file.as_file().sync_all().map_err(at(&place))?;
        file.persist(&place).map_err(|error| at(&place)(error.error))?;
        Ok(())
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &OverlayName, path: &str, mode: u32) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        fs::create_dir_all(&place).map_err(at(&place))?;
        fs::set_permissions(&place, Permissions::from_mode(mode)).map_err(at(&place))
    }

    /// Changes permissions.
    pub fn chmod(&self, name: &OverlayName, path: &str, mode: u32) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        fs::set_permissions(&place, Permissions::from_mode(mode)).map_err(at(&place))
    }

    /// Changes owner and group, of a link itself.
    pub fn chown(&self, name: &OverlayName, path: &str, uid: u32, gid: Option<u32>) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        std::os::unix::fs::lchown(&place, Some(uid), gid).map_err(at(&place))
    }

    /// Removes a file or directory of an overlay; a file's empty parents too, with `parents`.
    pub fn delete_path(&self, name: &OverlayName, path: &str, parents: bool) -> Result<(), SiteError> {
        let place = self.place(name, path)?;
        if !place.is_symlink() && !place.exists() {
            return Err(SiteError::Path(path.to_owned()));
        }
        remove(&place)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shipped_overlay_is_copied_before_it_is_changed_and_comes_back_when_the_copy_goes() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::new(dir.path().join("site"), dir.path().join("none"));
        let name: OverlayName = "wwinit".parse().unwrap();
        assert_eq!(site.list().unwrap()["wwinit"], Origin::Shipped);
        assert!(matches!(site.delete(&name), Err(SiteError::Shipped(_))));
        let before = site.files(&name).unwrap();
        site.write(&name, "etc/new", b"x", Some(0o600)).unwrap();
        assert_eq!(site.list().unwrap()["wwinit"], Origin::Site);
        let after = site.files(&name).unwrap();
        let files = |files: &[(String, u32, Option<String>)]| {
            files.iter().filter(|(.., text)| text.is_some()).cloned().collect::<Vec<_>>()
        };
        let mut wanted = files(&before);
        wanted.push(("etc/new".into(), 0o600, Some("x".into())));
        wanted.sort();
        assert_eq!(files(&after), wanted, "everything else is as it was, with its mode");
        site.chmod(&name, "/etc/new", 0o640).unwrap();
        site.write(&name, "etc/new", b"y", None).unwrap();
        assert!(site.files(&name).unwrap().contains(&("etc/new".into(), 0o640, Some("y".into()))));
        site.delete_path(&name, "etc/new", true).unwrap();
        assert!(!dir.path().join("site/wwinit/rootfs/etc").exists());
        site.delete(&name).unwrap();
        assert_eq!(site.files(&name).unwrap(), before);
    }

    #[test]
    fn no_path_leads_out_of_an_overlay() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::new(dir.path().join("site"), dir.path().join("none"));
        let name: OverlayName = "mine".parse().unwrap();
        assert!(matches!(site.write(&name, "a", b"", None), Err(SiteError::None(_))));
        site.create(&name).unwrap();
        assert!(matches!(site.create(&name), Err(SiteError::Exists(_))));
        symlink("/", dir.path().join("site/mine/rootfs/out")).unwrap();
        for path in ["../x", "a/../../x", "", "out/tmp/x"] {
            assert!(matches!(site.write(&name, path, b"", None), Err(SiteError::Path(_))), "{path}");
        }
    }

    #[test]
    fn comments_explain_variables() {
        let text = "{# All of it. #}\n{# node.tags.ntp: Time servers,\n   by commas. #}x";
        let expected = [("", "All of it."), ("node.tags.ntp", "Time servers, by commas.")];
        assert_eq!(comments(text), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
