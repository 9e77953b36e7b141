//! Entries of archives become files. Nothing is ever written through a link that leads out of the tree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tar::EntryType;

use super::Imported;
use super::acl::{self, Accounts};
use super::layer::{Layer, Whiteout};
use super::meta::{Meta, apply, set_time, set_xattr};
use super::pax::{Pax, read_sparse_map};
use super::reader::Entry;
use super::sparse::{self, CopyError};
use crate::image::ImageError;
use crate::image::error::Doing as _;
use crate::image::tree::Tree;

/// Unpacks archives into one tree.
pub(super) struct Unpacker<'a> {
    target: &'a Path,
    /// The archive, for messages.
    source: PathBuf,
    imported: Imported,
    /// While layers of a container image are applied: the current one.
    layer: Option<Layer>,
    /// Directories and their times, set once everything is in them.
    directories: BTreeMap<PathBuf, (i64, u32)>,
    /// Lists whose names can be looked up only when `/etc/passwd` is there: file, its name in the archive, attribute, text.
    acls: Vec<(PathBuf, String, &'static str, String)>,
}

/// An error about one entry.
pub(super) fn refused<T>(name: &[u8], why: impl Into<String>) -> Result<T, ImageError> {
    Err(ImageError::Entry { entry: String::from_utf8_lossy(name).into_owned(), why: why.into() })
}

impl<'a> Unpacker<'a> {
    /// Unpacks into the directory `target`; `source` is the archive.
    pub(super) fn new(target: &'a Path, source: &Path) -> Self {
        Self {
            target,
            source: source.to_owned(),
            imported: Imported::default(),
            layer: None,
            directories: BTreeMap::new(),
            acls: vec![],
        }
    }

    /// What follows is a layer over what was unpacked so far.
    pub(super) fn begin_layer(&mut self, source: &Path) {
        self.source = source.to_owned();
        self.layer = Some(Layer::default());
    }

    /// Unpacks one entry, whose content is `data`.
    pub(super) fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), ImageError> {
        let (kind, pax) = (entry.header.entry_type(), &entry.pax);
        let name = pax.sparse.as_ref().map_or(&entry.name, |(name, _)| name);
        if self.layer.is_some()
            && let Some(whiteout) = Whiteout::parse(name).or_else(|why| refused(name, why))?
        {
            return self.white_out(&whiteout);
        }
        let path = self.place(name)?;
        self.imported.entries += 1;
        if let Some(layer) = &mut self.layer {
            layer.add(self.target, &path);
        }
        if kind == EntryType::Link {
            return self.hard_link(entry, name, &path);
        }
        let meta = read_meta(&entry.header, pax).map_err(|error| self.broken(error))?;
        self.make_way(&path, kind)?;
        self.create(entry, data, name, &path)?;
        apply(&path, &meta, kind == EntryType::Symlink).doing("set the attributes of", &path)?;
        let text = String::from_utf8_lossy(name).into_owned();
        for (attribute, list) in [(acl::ACCESS, &pax.acl_access), (acl::DEFAULT, &pax.acl_default)] {
            self.acls.extend(list.as_ref().map(|list| (path.clone(), text.clone(), attribute, list.clone())));
        }
        if kind == EntryType::Directory {
            self.directories.insert(path, meta.mtime);
        } else {
            set_time(&path, meta.mtime).doing("set the time of", &path)?;
        }
        Ok(())
    }

    fn broken(&self, error: io::Error) -> ImageError {
        ImageError::Archive { path: self.source.clone(), source: error }
    }

    /// Where an entry belongs. Directories above it are made. In an archive none of them may be a link; in a layer they may, as
    /// the layers below have them, and lead wherever they would for a process inside the tree.
    pub(super) fn place(&mut self, name: &[u8]) -> Result<PathBuf, ImageError> {
        let parts = Path::new(OsStr::from_bytes(name)).components();
        let mut parts: Vec<&OsStr> = parts
            .filter_map(|part| match part {
                Component::RootDir | Component::CurDir => None,
                Component::Normal(part) => Some(Ok(part)),
                Component::ParentDir | Component::Prefix(_) => {
                    Some(refused(name, "has \"..\" in its name: it leads out of the tree"))
                }
            })
            .collect::<Result<_, _>>()?;
        let Some(last) = parts.pop() else { return Ok(self.target.to_owned()) };
        if self.layer.is_some() {
            let above: PathBuf = parts.iter().collect();
            return Ok(self.above(name, &above)?.join(last));
        }
        let mut path = self.target.to_owned();
        for part in parts {
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => {
                    return refused(
                        name,
                        "lies below something that is not a directory: a link could lead out of the tree",
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(&path)?,
                Err(error) => return Err(error).doing("read", &path),
            }
        }
        path.push(last);
        Ok(path)
    }

    /// The directory that `above` means inside the tree, made where it is missing.
    fn above(&mut self, name: &[u8], above: &Path) -> Result<PathBuf, ImageError> {
        if let Some(known) = self.layer.as_ref().and_then(|layer| layer.known(above)) {
            return Ok(known);
        }
        let found =
            Tree::new(self.target).resolve_or(above, |missing| make_directory(missing).map_err(io::Error::other));
        match found {
            Ok(place) if place.is_dir() => {
                if let Some(layer) = &mut self.layer {
                    layer.remember(above, &place);
                }
                Ok(place)
            }
            Ok(_) => refused(name, "lies below something that is not a directory"),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                refused(name, "lies below links that lead in a circle")
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                refused(name, "lies below something that is not a directory")
            }
            Err(error) => Err(error).doing("create directories for", self.target.join(above)),
        }
    }

    fn white_out(&mut self, whiteout: &Whiteout) -> Result<(), ImageError> {
        let (path, inside) = match whiteout {
            Whiteout::Nothing => return Ok(()),
            Whiteout::Of(victim) => (self.place(victim)?, false),
            Whiteout::Content(dir) => {
                // A directory like those above an entry: `..` is refused, links are followed.
                let inside = self.place(&[dir.as_slice(), b"x"].concat())?;
                (inside.parent().unwrap_or(self.target).to_owned(), true)
            }
        };
        let Some(layer) = &mut self.layer else { return Ok(()) };
        layer.forget();
        let gone = if inside { layer.clear(&path) } else { layer.remove(&path) };
        for path in gone.doing("remove", &path)? {
            self.forget(&path);
        }
        Ok(())
    }

    /// What was known of files that are gone.
    fn forget(&mut self, path: &Path) {
        self.acls.retain(|(of, ..)| !of.starts_with(path));
        self.directories.retain(|of, _| !of.starts_with(path));
    }

    /// A later entry of the same name replaces an earlier one; a directory stays one.
    fn make_way(&mut self, path: &Path, kind: EntryType) -> Result<(), ImageError> {
        let Ok(old) = fs::symlink_metadata(path) else { return Ok(()) };
        // What was known of the earlier one does not count for the later.
        self.acls.retain(|(of, ..)| of != path);
        if old.is_dir() && kind == EntryType::Directory {
            return Ok(());
        }
        if let Some(layer) = &mut self.layer {
            layer.forget();
        }
        if old.is_dir() {
            self.forget(path);
            fs::remove_dir_all(path).doing("replace", path)
        } else {
            fs::remove_file(path).doing("replace", path)
        }
    }

    fn create(&mut self, entry: &Entry, data: &mut dyn Read, name: &[u8], path: &Path) -> Result<(), ImageError> {
        let header = &entry.header;
        if path == self.target && header.entry_type() != EntryType::Directory {
            return refused(name, "is the root of the tree and not a directory");
        }
        let node = |kind| {
            let major = header.device_major().ok().flatten().unwrap_or(0);
            let minor = header.device_minor().ok().flatten().unwrap_or(0);
            mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), makedev(major, minor)).doing("create", path)
        };
        match header.entry_type() {
            EntryType::Directory if path.is_dir() => Ok(()),
            EntryType::Directory => fs::create_dir(path).doing("create", path),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(entry, data, name, path),
            EntryType::Symlink => match &entry.link {
                Some(target) => symlink(OsStr::from_bytes(target), path).doing("create", path),
                None => refused(name, "is a link to nothing"),
            },
            EntryType::Char => node(FileType::CharacterDevice),
            EntryType::Block => node(FileType::BlockDevice),
            EntryType::Fifo => node(FileType::Fifo),
            other => refused(name, format!("has the unknown type {:?}", char::from(other.as_byte()))),
        }
    }

    fn file(&mut self, entry: &Entry, data: &mut dyn Read, name: &[u8], path: &Path) -> Result<(), ImageError> {
        let sink = File::options().write(true).create_new(true).mode(0o600).open(path).doing("create", path)?;
        let (map, size) = match (&entry.old_sparse, &entry.pax.sparse) {
            (Some((map, size)), _) => (map.clone(), *size),
            (None, Some((_, size))) => match read_sparse_map(data, *size) {
                Ok(map) => (map, *size),
                Err(error) => return refused(name, format!("is sparse with {error}")),
            },
            (None, None) => {
                return match sparse::copy(data, &sink, |_| {}) {
                    Ok(len) => {
                        self.imported.bytes += len;
                        Ok(())
                    }
                    Err(CopyError::Read(error)) => Err(self.broken(error)),
                    Err(CopyError::Write(error)) => Err(error).doing("write", path),
                };
            }
        };
        let mut buffer = vec![0; 1 << 18];
        for (offset, len) in map {
            let mut done = 0;
            while done < len {
                let piece = usize::try_from(len - done).unwrap_or(usize::MAX).min(buffer.len());
                data.read_exact(&mut buffer[..piece]).map_err(|error| self.broken(error))?;
                sparse::write_at(&sink, &buffer[..piece], offset + done).doing("write", path)?;
                done += piece as u64;
            }
        }
        self.imported.bytes += size;
        sink.set_len(size).doing("write", path)
    }

    fn hard_link(&mut self, entry: &Entry, name: &[u8], path: &Path) -> Result<(), ImageError> {
        let Some(target) = &entry.link else { return refused(name, "is a link to nothing") };
        let target = self.place(target)?;
        match fs::symlink_metadata(&target) {
            Ok(metadata) if !metadata.is_dir() => {}
            _ => return refused(name, "is a hard link to something that the archive does not hold before it"),
        }
        if target == path {
            return Ok(());
        }
        self.make_way(path, EntryType::Link)?;
        fs::hard_link(&target, path).doing("create", path)
    }

    /// Sets what can be set only at the end.
    pub(super) fn finish(self) -> Result<Imported, ImageError> {
        let tree = Tree::new(self.target);
        let text = |path: &str| tree.text(path).doing("read", self.target.join(path));
        let accounts = if self.acls.is_empty() {
            Accounts::default()
        } else {
            Accounts { passwd: text("etc/passwd")?, group: text("etc/group")? }
        };
        for (path, name, attribute, list) in &self.acls {
            match acl::encode(list, &accounts) {
                Ok(value) => set_xattr(path, OsStr::new(attribute), &value).doing("set the attributes of", path)?,
                Err(why) => return refused(name.as_bytes(), why),
            }
        }
        for (path, mtime) in &self.directories {
            set_time(path, *mtime).doing("set the time of", path)?;
        }
        Ok(self.imported)
    }
}

fn read_meta(header: &tar::Header, pax: &Pax) -> io::Result<Meta> {
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other(format!("owner {id} is out of range")));
    let seconds = i64::try_from(header.mtime()?).unwrap_or(0);
    let mut meta = Meta {
        mode: header.mode()? & 0o7777,
        uid: id(pax.uid.map_or_else(|| header.uid(), Ok)?)?,
        gid: id(pax.gid.map_or_else(|| header.gid(), Ok)?)?,
        mtime: pax.mtime.unwrap_or((seconds, 0)),
        xattrs: vec![],
    };
    for (name, value) in &pax.xattrs {
        meta.add_xattr(name.clone(), value.clone());
    }
    Ok(meta)
}

fn make_directory(path: &Path) -> Result<(), ImageError> {
    fs::DirBuilder::new().mode(0o755).create(path).doing("create", path)?;
    apply(path, &Meta::directory(), false).doing("create", path)
}
