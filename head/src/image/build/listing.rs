//! What is in a tree, file by file: by it a build knows that nothing has changed, and two versions are compared.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::Hash;

/// Read at a time while a file is hashed.
const BUFFER: usize = 256 * 1024;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    #[serde(rename = "f")]
    File,
    /// A directory.
    #[serde(rename = "d")]
    Directory,
    /// A symbolic link.
    #[serde(rename = "l")]
    Link,
    /// A block device.
    #[serde(rename = "b")]
    Block,
    /// A character device.
    #[serde(rename = "c")]
    Character,
    /// A pipe.
    #[serde(rename = "p")]
    Pipe,
    /// A socket.
    #[serde(rename = "s")]
    Socket,
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Inside the tree; what is not UTF-8 is replaced.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Permissions, with setuid and the like.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file.
    pub size: u64,
    /// Last change in seconds since 1970.
    pub mtime: i64,
    /// Of the content of a file, the target of a link, or the numbers of a device.
    pub content: Hash,
    /// Of all extended attributes; zero where there are none.
    pub xattrs: Hash,
    /// Whether it is another name of a file that came before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// When a file's content was last looked at: what is the same did not change since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    changed: (i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    entry: FileEntry,
    #[serde(default)]
    seen: Seen,
}

/// All files of a tree, in order.
#[derive(Clone, Debug, Default)]
pub(in crate::image) struct Listing {
    lines: Vec<Line>,
}

/// A listing that is being made.
pub(super) struct Scan {
    known: HashMap<String, Line>,
    /// Changes since a moment before the scan may go unseen in times: clocks of file systems tick slowly.
    begun: i64,
    listing: Listing,
}

impl Scan {
    /// Trusts what `before` says of files that have not changed since.
    pub(super) fn new(before: Option<Listing>) -> Self {
        let known = before.unwrap_or_default().lines.into_iter().map(|line| (line.entry.path.clone(), line)).collect();
        let begun = i64::try_from(crate::image::source::now().0 / 1000).unwrap_or(i64::MAX) - 2;
        Self { known, begun, listing: Listing::default() }
    }

    /// Adds the file at `path`, which is `inside` the tree.
    pub(super) fn add(&mut self, path: &Path, inside: &Path, metadata: &fs::Metadata, again: bool) -> io::Result<()> {
        let kind = kind_of(metadata.file_type());
        let text = inside.to_string_lossy().into_owned();
        let seen = Seen { inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) };
        let size = if kind == FileKind::File { metadata.len() } else { 0 };
        let known = self.known.get(&text).filter(|line| {
            line.seen == seen && line.entry.kind == kind && line.entry.size == size && seen.changed.0 < self.begun
        });
        let (content, xattrs) = match known {
            Some(line) => (line.entry.content, line.entry.xattrs),
            None => (content_of(path, kind, metadata)?, xattrs_of(path)?),
        };
        // A file that changed a moment ago is looked at again next time.
        let seen = if seen.changed.0 < self.begun { seen } else { Seen::default() };
        let entry = FileEntry {
            path: text,
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            size,
            mtime: metadata.mtime(),
            content,
            xattrs,
            again,
        };
        self.listing.lines.push(Line { entry, seen });
        Ok(())
    }

    pub(super) fn finish(self) -> Listing {
        self.listing
    }
}

impl Listing {
    /// Its files.
    pub(in crate::image) fn entries(&self) -> impl Iterator<Item = &FileEntry> {
        self.lines.iter().map(|line| &line.entry)
    }

    /// A hash of what would be the same in two equal trees.
    pub(super) fn hash(&self) -> Hash {
        self.hash_of(|_| true)
    }

    /// The same for some of its files.
    pub(super) fn hash_of(&self, some: impl Fn(&FileEntry) -> bool) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for entry in self.entries().filter(|entry| some(entry)) {
            // Writing into a hasher does not fail.
            drop(serde_json::to_writer(&mut hasher, entry));
        }
        Hash(*hasher.finalize().as_bytes())
    }

    /// Reads one from a file, where there is one that can be read.
    pub(in crate::image) fn load(path: &Path) -> Option<Self> {
        let reader = BufReader::new(zstd::Decoder::new(File::open(path).ok()?).ok()?);
        let lines = reader.lines().map(|line| serde_json::from_str(&line.ok()?).ok()).collect::<Option<Vec<Line>>>()?;
        Some(Self { lines })
    }

    /// Writes it.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let mut encoder = zstd::Encoder::new(File::create(path)?, 3)?;
        for line in &self.lines {
            serde_json::to_writer(&mut encoder, line)?;
            encoder.write_all(b"\n")?;
        }
        encoder.finish()?.sync_all()
    }
}

fn kind_of(kind: fs::FileType) -> FileKind {
    if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Link
    } else if kind.is_block_device() {
        FileKind::Block
    } else if kind.is_char_device() {
        FileKind::Character
    } else if kind.is_fifo() {
        FileKind::Pipe
    } else if kind.is_socket() {
        FileKind::Socket
    } else {
        FileKind::File
    }
}

fn content_of(path: &Path, kind: FileKind, metadata: &fs::Metadata) -> io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    match kind {
        FileKind::File => {
            let (mut file, mut buffer) =
                (File::open(path)?, vec![0; BUFFER.min(usize::try_from(metadata.len()).unwrap_or(BUFFER).max(1))]);
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    len => drop(hasher.update(&buffer[..len])),
                }
            }
        }
        FileKind::Link => drop(hasher.update(fs::read_link(path)?.as_os_str().as_bytes())),
        FileKind::Block | FileKind::Character => drop(hasher.update(&metadata.rdev().to_le_bytes())),
        FileKind::Directory | FileKind::Pipe | FileKind::Socket => {}
    }
    Ok(Hash(*hasher.finalize().as_bytes()))
}

fn xattrs_of(path: &Path) -> io::Result<Hash> {
    let mut names: Vec<_> = match xattr::list(path) {
        Ok(names) => names.collect(),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => vec![],
        Err(error) => return Err(error),
    };
    if names.is_empty() {
        return Ok(Hash([0; 32]));
    }
    names.sort();
    let mut hasher = blake3::Hasher::new();
    for name in names {
        let value = xattr::get(path, &name)?.unwrap_or_default();
        for part in [name.as_bytes(), &value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(Hash(*hasher.finalize().as_bytes()))
}
