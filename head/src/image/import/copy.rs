//! Importing from a directory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use walkdir::WalkDir;

use super::Imported;
use super::meta::{Meta, apply, set_time};
use super::sparse::{self, CopyError};
use crate::image::error::Doing as _;
use crate::image::{ImageError, Progress};

/// Copies the tree at `source` into the empty directory `target`. Other file systems mounted in it are left out.
pub(super) fn copy(source: &Path, target: &Path, progress: &dyn Progress) -> Result<Imported, ImageError> {
    progress.stage("Copying", None);
    let mut imported = Imported::default();
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut directories = vec![];
    for entry in WalkDir::new(source).same_file_system(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(source).to_owned();
            ImageError::Io { action: "read", path, source: error.into() }
        })?;
        let from = entry.path();
        let to = target.join(from.strip_prefix(source).unwrap_or(from));
        // Of a link given as source the directory behind it counts.
        let metadata = if entry.depth() == 0 { fs::metadata(from) } else { fs::symlink_metadata(from) };
        let metadata = metadata.doing("read", from)?;
        imported.entries += 1;
        let inode = (metadata.dev(), metadata.ino());
        if let Some(first) = links.get(&inode) {
            fs::hard_link(first, &to).doing("create", &to)?;
            continue;
        }
        if metadata.nlink() > 1 && !metadata.is_dir() {
            links.insert(inode, to.clone());
        }
        let meta = Meta::read(from, &metadata).doing("read the attributes of", from)?;
        if metadata.is_file() {
            let done = imported.bytes;
            imported.bytes += copy_file(from, &to, |bytes| progress.set(done + bytes))?;
        } else {
            create_special(from, &to, &metadata, entry.depth() == 0)?;
        }
        apply(&to, &meta, metadata.is_symlink()).doing("set the attributes of", &to)?;
        if metadata.is_dir() {
            directories.push((to, meta.mtime));
        } else {
            set_time(&to, meta.mtime).doing("set the time of", &to)?;
        }
    }
    for (path, mtime) in directories.iter().rev() {
        set_time(path, *mtime).doing("set the time of", path)?;
    }
    Ok(imported)
}

fn copy_file(from: &Path, to: &Path, each: impl Fn(u64)) -> Result<u64, ImageError> {
    let mut source = File::open(from).doing("read", from)?;
    let sink = File::options().write(true).create_new(true).mode(0o600).open(to).doing("create", to)?;
    let mut copied = 0;
    let result = sparse::copy(&mut source, &sink, |bytes| {
        copied += bytes;
        each(copied);
    });
    match result {
        Ok(len) => Ok(len),
        Err(CopyError::Read(error)) => Err(error).doing("read", from),
        Err(CopyError::Write(error)) => Err(error).doing("write", to),
    }
}

fn create_special(from: &Path, to: &Path, metadata: &fs::Metadata, is_root: bool) -> Result<(), ImageError> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        return if is_root { Ok(()) } else { fs::create_dir(to).doing("create", to) };
    }
    if kind.is_symlink() {
        let target = fs::read_link(from).doing("read", from)?;
        return symlink(target, to).doing("create", to);
    }
    let kind = if kind.is_block_device() {
        FileType::BlockDevice
    } else if kind.is_char_device() {
        FileType::CharacterDevice
    } else if kind.is_fifo() {
        FileType::Fifo
    } else if kind.is_socket() {
        FileType::Socket
    } else {
        return Err(io::Error::other("a file of this type cannot be copied")).doing("copy", from);
    };
    mknodat(CWD, to, kind, Mode::from_raw_mode(0o600), metadata.rdev()).doing("create", to)
}
