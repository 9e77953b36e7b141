//! Locks, removal and syncing of an image's directory.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wulfpack_shared::id::ImageName;

use crate::image::error::Doing as _;
use crate::image::{ImageError, Progress};

/// Directories are for root and the group of the library's own directory (which hands it on if it is set-group-id).
pub(super) const DIRECTORY_MODE: u32 = 0o750;
/// What unfinished work is called.
const TEMPORARY: &str = ".tmp-";
const LOCK: &str = "lock";

/// The right to change one image. While it is held nobody else works on the image.
#[derive(Debug)]
pub(in crate::image) struct ImageLock {
    dir: PathBuf,
    // Closing the file releases the lock.
    _file: File,
}

impl ImageLock {
    /// Takes the lock of the image in `dir`; waits, and says so, while somebody else has it. Creates the directory where
    /// `create` says so. Removes what unfinished work left behind.
    pub(in crate::image) fn take(dir: &Path, create: bool, progress: &dyn Progress) -> Result<Self, ImageError> {
        if create {
            create_directory(dir)?;
        }
        let path = dir.join(LOCK);
        let file = open_lock(&path)?;
        if file.try_lock().is_err() {
            progress.stage(&format!("Waiting for {}", holder(&path)), None);
            file.lock().doing("lock", &path)?;
        }
        Self::begin(dir, file)
    }

    /// Takes the lock of the image `name` in `dir`, or says who has it.
    pub(in crate::image) fn take_now(name: &ImageName, dir: &Path) -> Result<Self, ImageError> {
        let path = dir.join(LOCK);
        let file = open_lock(&path)?;
        if file.try_lock().is_err() {
            return Err(ImageError::Busy { name: name.clone(), holder: holder(&path) });
        }
        Self::begin(dir, file)
    }

    fn begin(dir: &Path, file: File) -> Result<Self, ImageError> {
        // For whoever waits; that it could not be written is no reason to fail.
        drop(file.set_len(0).and_then(|()| file.write_all_at(own_name().as_bytes(), 0)));
        let lock = Self { dir: dir.to_owned(), _file: file };
        lock.clean()?;
        Ok(lock)
    }

    /// Removes what unfinished work left behind, unless somebody works there now.
    pub(super) fn clean_idle(dir: &Path) -> Result<(), ImageError> {
        // The lock is taken only if there is something to do: whoever takes it next should not have to wait for us.
        if leftovers(dir)?.is_empty() {
            return Ok(());
        }
        let file = open_lock(&dir.join(LOCK))?;
        if file.try_lock().is_err() {
            return Ok(());
        }
        Self { dir: dir.to_owned(), _file: file }.clean()
    }

    fn clean(&self) -> Result<(), ImageError> {
        for path in leftovers(&self.dir)? {
            remove_tree(&path)?;
        }
        Ok(())
    }

    /// A directory for unfinished work, on the file system of the image; removed when dropped.
    pub(in crate::image) fn temporary(&self) -> Result<TempDir, ImageError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY).permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        builder.tempdir_in(&self.dir).doing("create a directory in", &self.dir)
    }

    /// Takes `path` out of sight at once and then removes it.
    pub(in crate::image) fn discard(&self, path: &Path) -> Result<(), ImageError> {
        forbid_mounts(path, &[])?;
        let grave = self.temporary()?;
        let name = path.file_name().unwrap_or_default();
        fs::rename(path, grave.path().join(name)).doing("remove", path)?;
        remove_tree(&grave.keep())
    }
}

/// What the file of a lock says of who holds it.
fn holder(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => text.trim().chars().filter(|c| !c.is_control()).take(300).collect(),
        _ => "another command that works on the image".into(),
    }
}

/// This process, for whoever waits for it.
fn own_name() -> String {
    let mut words = std::env::args();
    let program = words.next().and_then(|path| Some(Path::new(&path).file_name()?.to_str()?.to_owned()));
    // No argument of wulf is a secret.
    let command: Vec<String> = program.into_iter().chain(words.take(6)).collect();
    format!("`{}` (process {}, since {})", command.join(" "), std::process::id(), super::super::source::now())
}

fn open_lock(path: &Path) -> Result<File, ImageError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    options.open(path).doing("open the lock", path)
}

fn leftovers(dir: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).doing("list", dir)? {
        let entry = entry.doing("list", dir)?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A directory and those above it.
pub(super) fn create_directory(dir: &Path) -> Result<(), ImageError> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir).doing("create", dir)
}

/// Removes a tree, unless something is mounted in it: removal would go on there.
fn remove_tree(path: &Path) -> Result<(), ImageError> {
    forbid_mounts(path, &[])?;
    fs::remove_dir_all(path).doing("remove", path)
}

/// Refuses a tree in which something is mounted, except in its directories `but`.
pub(in crate::image) fn forbid_mounts(tree: &Path, but: &[&str]) -> Result<(), ImageError> {
    let tree = fs::canonicalize(tree).doing("find", tree)?;
    // Of this thread: it may have a mount namespace of its own.
    let table = Path::new("/proc/thread-self/mountinfo");
    let mounts = fs::read_to_string(table).doing("read", table)?;
    for line in mounts.lines() {
        // proc_pid_mountinfo(5): the fifth field, with spaces and the like in octal.
        let Some(mount) = line.split(' ').nth(4).map(unescape) else { continue };
        let Ok(inside) = Path::new(&mount).strip_prefix(&tree) else { continue };
        let allowed = but.iter().any(|name| inside.starts_with(name));
        if inside != Path::new("") && !allowed {
            return Err(ImageError::Mounted { mount: mount.into() });
        }
    }
    Ok(())
}

fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Makes a file or a directory survive a power cut.
pub(in crate::image) fn sync(path: &Path) -> Result<(), ImageError> {
    File::open(path).and_then(|file| file.sync_all()).doing("write", path)
}
