//! Changing users, groups and owners of an image.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use walkdir::WalkDir;
use wulfpack_shared::id::ImageName;

use super::Plan;
use crate::image::error::Doing as _;
use crate::image::library::{ImageLock, forbid_mounts};
use crate::image::tree::Tree;
use crate::image::{ImageError, Library, Progress};

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
const CAPABILITY: &str = "security.capability";

impl Library {
    /// What has to change in the image `name` so that every user and group of the head, whose files `passwd` and `group` are, has
    /// its number there.
    ///
    /// # Errors
    /// Where there is no such image, or its files cannot be read.
    pub fn sync_users_plan(&self, name: &ImageName, passwd: &str, group: &str) -> Result<Plan, ImageError> {
        let tree = self.tree(name)?;
        let text = |path: &str| tree.text(path).doing("read", tree.root().join(path));
        Ok(Plan::new((passwd, group), (&text(PASSWD)?, &text(GROUP)?)))
    }

    /// Changes it: files get the new owners first, then the two files the new numbers, so that a run that was interrupted is
    /// completed by the next. Returns how many files changed hands.
    ///
    /// # Errors
    /// Where there are conflicts, somebody else changes the image, it is read-only, or a file cannot be changed.
    pub fn sync_users(
        &self,
        name: &ImageName,
        passwd: &str,
        group: &str,
        progress: &dyn Progress,
    ) -> Result<(Plan, u64), ImageError> {
        self.check_writable(name)?;
        let _lock = ImageLock::take(&self.existing(name)?, false, progress)?;
        let plan = self.sync_users_plan(name, passwd, group)?;
        if let Some(conflict) = plan.conflicts.first() {
            return Err(ImageError::Users { name: name.clone(), why: conflict.to_string() });
        }
        let tree = self.tree(name)?;
        forbid_mounts(tree.root(), &[])?;
        let changed = if plan.uids.is_empty() && plan.gids.is_empty() {
            0
        } else {
            progress.stage("Changing owners", None);
            change_owners(tree.root(), &plan, progress)?
        };
        replace(&tree, PASSWD, &plan.passwd)?;
        replace(&tree, GROUP, &plan.group)?;
        Ok((plan, changed))
    }
}

fn change_owners(root: &Path, plan: &Plan, progress: &dyn Progress) -> Result<u64, ImageError> {
    // All is looked at before anything is changed: a number may be both an old and a new one, and of a file with several names
    // the second must not be taken for one that still has to change.
    let mut wanted = vec![];
    let mut seen = std::collections::HashSet::new();
    for entry in WalkDir::new(root).same_file_system(true) {
        let entry = entry.map_err(io::Error::from).doing("read", root)?;
        let metadata = fs::symlink_metadata(entry.path()).doing("read", entry.path())?;
        let uid = plan.uids.get(&metadata.uid()).copied().unwrap_or(metadata.uid());
        let gid = plan.gids.get(&metadata.gid()).copied().unwrap_or(metadata.gid());
        let same = (uid, gid) == (metadata.uid(), metadata.gid());
        if !same && seen.insert((metadata.dev(), metadata.ino())) {
            wanted.push((entry.into_path(), metadata, uid, gid));
        }
    }
    let mut changed = 0;
    for (path, metadata, uid, gid) in wanted {
        change_owner(&path, &metadata, uid, gid).doing("change the owner of", &path)?;
        changed += 1;
        progress.set(changed);
    }
    Ok(changed)
}

/// A change of owner takes setuid bits and capabilities away (chown(2)): they are given back.
fn change_owner(path: &Path, metadata: &fs::Metadata, uid: u32, gid: u32) -> io::Result<()> {
    let capability: Option<(OsString, Vec<u8>)> =
        if metadata.is_file() { xattr::get(path, CAPABILITY)?.map(|value| (CAPABILITY.into(), value)) } else { None };
    lchown(path, Some(uid), Some(gid))?;
    if !metadata.is_symlink() {
        fs::set_permissions(path, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    capability.map_or(Ok(()), |(name, value)| xattr::set(path, OsStr::new(&name), &value))
}

/// Writes one of the image's files anew, in one step, if it changes.
fn replace(tree: &Tree, path: &str, text: &str) -> Result<(), ImageError> {
    if tree.text(path).doing("read", tree.root().join(path))? == text {
        return Ok(());
    }
    let place = tree.resolve_or(path, |_| Ok(())).doing("find", tree.root().join(path))?;
    let dir = place.parent().unwrap_or(tree.root());
    let mut file = tempfile::NamedTempFile::new_in(dir).doing("create a file in", dir)?;
    io::Write::write_all(&mut file, text.as_bytes()).doing("write", &place)?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).doing("write", &place)?;
    file.as_file().sync_all().doing("write", &place)?;
    file.persist(&place).map_err(|error| error.error).doing("replace", &place)?;
    Ok(())
}
