//! Importing from a tar archive. Nothing is ever written through a link of the archive, so that no entry leaves the tree.

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
use super::meta::{Meta, apply, set_time, set_xattr};
use super::pax::{Pax, read_sparse_map};
use super::reader::{Entry, TarError, TarReader};
use super::sparse::{self, CopyError};
use crate::image::error::Doing as _;
use crate::image::initramfs::ArchiveCompression;
use crate::image::tree::Tree;
use crate::image::{ImageError, Progress};

/// Unpacks the archive at `source` into the empty directory `target`.
pub(super) fn unpack(source: &Path, target: &Path, progress: &dyn Progress) -> Result<Imported, ImageError> {
    let mut file = File::open(source).doing("read", source)?;
    let total = file.metadata().doing("read", source)?.len();
    let mut magic = vec![];
    file.by_ref().take(8).read_to_end(&mut magic).doing("read", source)?;
    let compression = ArchiveCompression::detect(&magic);
    progress.stage("Unpacking", Some(total));
    let counted = Counted { source: io::Cursor::new(magic).chain(file), done: 0, progress };
    let broken = |error| ImageError::Archive { path: source.to_owned(), source: error };
    let mut archive = TarReader::new(compression.reader(counted).map_err(broken)?);
    let mut unpacker = Unpacker::new(target, source);
    loop {
        match archive.next() {
            Ok(Some(entry)) => unpacker.entry(&entry, &mut archive)?,
            Ok(None) => break,
            // Something compressed was meant to be one.
            Err(TarError::NotTar) if compression != ArchiveCompression::None => {
                return Err(broken(io::Error::other("what it holds is damaged or no tar archive")));
            }
            Err(TarError::NotTar) => return Err(ImageError::NotASource { path: source.to_owned() }),
            Err(TarError::Broken(error)) => return Err(broken(error)),
            Err(TarError::Entry(name, why)) => return refused(&name, why),
        }
    }
    // To the end: only there is the checksum of a compressed archive checked.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    unpacker.finish()
}

/// Tells how far a source was read.
struct Counted<'a, R> {
    source: R,
    done: u64,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.done += len as u64;
        self.progress.set(self.done);
        Ok(len)
    }
}

struct Unpacker<'a> {
    target: &'a Path,
    source: &'a Path,
    imported: Imported,
    /// Directories and their times, set once everything is in them.
    directories: Vec<(PathBuf, (i64, u32))>,
    /// Lists whose names can be looked up only when `/etc/passwd` is there: file, its name in the archive, attribute, text.
    acls: Vec<(PathBuf, String, &'static str, String)>,
}

fn refused<T>(name: &[u8], why: impl Into<String>) -> Result<T, ImageError> {
    Err(ImageError::Entry { entry: String::from_utf8_lossy(name).into_owned(), why: why.into() })
}

impl<'a> Unpacker<'a> {
    const fn new(target: &'a Path, source: &'a Path) -> Self {
        Self { target, source, imported: Imported { entries: 0, bytes: 0 }, directories: vec![], acls: vec![] }
    }

    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), ImageError> {
        let (kind, pax) = (entry.header.entry_type(), &entry.pax);
        let name = pax.sparse.as_ref().map_or(&entry.name, |(name, _)| name);
        let path = self.place(name)?;
        self.imported.entries += 1;
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
            self.directories.push((path, meta.mtime));
        } else {
            set_time(&path, meta.mtime).doing("set the time of", &path)?;
        }
        Ok(())
    }

    fn broken(&self, error: io::Error) -> ImageError {
        ImageError::Archive { path: self.source.to_owned(), source: error }
    }

    /// Where an entry belongs. Directories above it are made; none of them may be a link.
    fn place(&mut self, name: &[u8]) -> Result<PathBuf, ImageError> {
        let mut path = self.target.to_owned();
        let mut parts = Path::new(OsStr::from_bytes(name)).components().peekable();
        while let Some(part) = parts.next() {
            match part {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(part) => path.push(part),
                Component::ParentDir | Component::Prefix(_) => {
                    return refused(name, "has \"..\" in its name: it leads out of the tree");
                }
            }
            if parts.peek().is_none() {
                break;
            }
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => {
                    return refused(
                        name,
                        "lies below something that is not a directory: a link could lead out of the tree",
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::DirBuilder::new().mode(0o755).create(&path).doing("create", &path)?;
                    apply(&path, &Meta::directory(), false).doing("create", &path)?;
                }
                Err(error) => return Err(error).doing("read", &path),
            }
        }
        Ok(path)
    }

    /// A later entry of the same name replaces an earlier one; a directory stays one.
    fn make_way(&mut self, path: &Path, kind: EntryType) -> Result<(), ImageError> {
        let Ok(old) = fs::symlink_metadata(path) else { return Ok(()) };
        // What was known of the earlier one does not count for the later.
        self.acls.retain(|(of, ..)| of != path && (kind == EntryType::Directory || !of.starts_with(path)));
        self.directories.retain(|(of, _)| !of.starts_with(path) || kind == EntryType::Directory);
        match old {
            old if old.is_dir() && kind == EntryType::Directory => Ok(()),
            old if old.is_dir() => fs::remove_dir_all(path).doing("replace", path),
            _ => fs::remove_file(path).doing("replace", path),
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

    fn finish(self) -> Result<Imported, ImageError> {
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
        for (path, mtime) in self.directories.iter().rev() {
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
