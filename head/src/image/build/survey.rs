//! One walk over the tree before it is packed: what squashfs cannot say or keep.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use walkdir::WalkDir;
use wulfpack_shared::image::{ACLS_FILE, ACLS_MAX, FileAcls, encode_acls};

use super::excludes::Excludes;
use super::listing::{Listing, Scan};
use crate::image::error::Doing as _;
use crate::image::{ImageError, Progress};

/// What a tmpfs takes for a part of a file.
const PAGE: u64 = 4096;
/// Smaller files are not looked into for holes.
const SPARSE_MIN: u64 = 64 * 1024;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Bytes of memory that the tree needs in a tmpfs.
    pub(super) unpacked_len: u64,
    /// Content of [`ACLS_FILE`], if any file has an access control list.
    pub(super) acls: Option<Vec<u8>>,
    /// Every file.
    pub(super) listing: Listing,
    /// What is left out, by the image's own wish.
    pub(super) left_out: Vec<PathBuf>,
}

/// Walks over the tree at `root` without the content of its directories `but`, and without what `excludes` names. Of files that have
/// not changed since `before` the content is known.
pub(super) fn survey(
    root: &Path,
    but: &[&str],
    excludes: &Excludes,
    before: Option<Listing>,
    progress: &dyn Progress,
) -> Result<Survey, ImageError> {
    let (mut survey, mut acls, mut seen) = (Survey::default(), vec![], HashSet::new());
    let mut scan = Scan::new(before);
    let mut walk = WalkDir::new(root).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            ImageError::Io { action: "read", path, source: error.into() }
        })?;
        let path = entry.path();
        let inside = path.strip_prefix(root).unwrap_or(path);
        if inside == Path::new(ACLS_FILE) {
            let why = "it is reserved for the access control lists of the image; remove it from the tree";
            return Err(ImageError::Mksquashfs { why: format!("{}: {why}", path.display()) });
        }
        if entry.depth() == 1 && entry.file_type().is_dir() && but.iter().any(|name| Path::new(name) == inside) {
            walk.skip_current_dir();
        }
        if excludes.matches(inside) {
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
            survey.left_out.push(inside.to_owned());
            continue;
        }
        let metadata = fs::symlink_metadata(path).doing("read", path)?;
        let again = !metadata.is_dir() && metadata.nlink() > 1 && !seen.insert((metadata.dev(), metadata.ino()));
        scan.add(path, inside, &metadata, again).doing("read", path)?;
        if again {
            continue;
        }
        progress.set(survey.unpacked_len);
        // A page for the inode and its entry, and its content.
        survey.unpacked_len += PAGE / 2 + if metadata.is_file() { content_len(path, metadata.len())? } else { 0 };
        if !metadata.is_symlink() {
            acls.extend(read_acls(path, inside).doing("read the attributes of", path)?);
        }
    }
    if !acls.is_empty() {
        let bytes = encode_acls(&acls);
        if bytes.len() > ACLS_MAX {
            let why = format!("its access control lists take more than {ACLS_MAX} bytes");
            return Err(ImageError::Mksquashfs { why });
        }
        survey.acls = Some(bytes);
    }
    survey.listing = scan.finish();
    Ok(survey)
}

/// Bytes of pages that hold data.
fn content_len(path: &Path, len: u64) -> Result<u64, ImageError> {
    if len < SPARSE_MIN {
        return Ok(len.next_multiple_of(PAGE));
    }
    let file = File::open(path).doing("read", path)?;
    let (mut at, mut total) = (0, 0);
    while at < len {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // A hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(io::Error::from(error)).doing("read", path),
        };
        at = seek(&file, SeekFrom::Hole(start)).doing("read", path)?;
        total += (at - start).next_multiple_of(PAGE);
    }
    Ok(total)
}

fn read_acls(path: &Path, inside: &Path) -> io::Result<Option<FileAcls>> {
    let get = |name| match xattr::get(path, name) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        other => other,
    };
    let (access, default) = (get("system.posix_acl_access")?, get("system.posix_acl_default")?);
    let some = access.is_some() || default.is_some();
    Ok(some.then(|| FileAcls { path: inside.as_os_str().as_bytes().to_owned(), access, default }))
}
