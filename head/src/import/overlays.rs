//! Site overlays: files as they are, templates translated.

use std::fs;
use std::path::{Path, PathBuf};

use super::gotemplate::translate;
use super::plan::{ImportError, ImportedFile, ImportedOverlay, Remark, read};
use crate::overlay::Book;

/// Reads one overlay; templates that cannot be translated are told, and left out.
pub(super) fn read_overlay(
    dir: &Path,
    name: String,
    remarks: &mut Vec<Remark>,
) -> Result<ImportedOverlay, ImportError> {
    // Before 4.4 there was no `rootfs`.
    let rootfs = if dir.join("rootfs").is_dir() { dir.join("rootfs") } else { dir.to_owned() };
    let mut files = vec![];
    for entry in walkdir::WalkDir::new(&rootfs).sort_by_file_name() {
        let entry = entry.map_err(|error| ImportError::Read {
            path: error.path().unwrap_or(&rootfs).to_owned(),
            source: error.into(),
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        let from = entry.path().to_owned();
        let path = from.strip_prefix(&rootfs).unwrap_or(&from).to_owned();
        let template = entry.file_type().is_file() && path.extension().is_some_and(|extension| extension == "ww");
        if path.starts_with("warewulf") {
            let what = "Warewulf runs this on its nodes; hooks here are hook directories of the image or of an overlay";
            remarks.push(Remark { file: from.clone(), line: None, what: what.into() });
        }
        if !template {
            files.push(ImportedFile { from, to: path, text: None });
            continue;
        }
        match translate(&read(&from)?) {
            Ok(translated) => {
                let to = target(&path, translated.per_network.as_ref());
                files.push(ImportedFile { from, to, text: Some(translated.text) });
            }
            Err(wrong) => {
                let remark = |(line, what)| Remark { file: from.clone(), line: Some(line), what };
                remarks.extend(wrong.into_iter().map(remark));
            }
        }
    }
    Ok(ImportedOverlay { name, files })
}

/// `hosts.ww` is `hosts.j2`; what was one file for each network is named after them.
fn target(path: &Path, per_network: Option<&(String, String)>) -> PathBuf {
    let plain = path.with_extension("");
    match per_network {
        Some((before, behind)) => plain.with_file_name(format!("{before}@net@{behind}.j2")),
        None => {
            let mut name = plain.into_os_string();
            name.push(".j2");
            name.into()
        }
    }
}

/// Makes the overlay below `dir`: links as they were, owners and modes written down where the head's own user could not read a file
/// that had them.
fn write_overlay(overlay: &ImportedOverlay, dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    let (made, mut book) = (dir.join(&overlay.name), Book::default());
    for file in &overlay.files {
        let to = made.join("rootfs").join(&file.to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let data = fs::symlink_metadata(&file.from)?;
        let mut mode = None;
        if data.is_symlink() {
            symlink(fs::read_link(&file.from)?, &to)?;
        } else {
            fs::write(&to, file.text.as_ref().map_or_else(|| fs::read(&file.from), |text| Ok(text.clone().into()))?)?;
            let (wanted, here) = (data.mode() & 0o7777, data.mode() & 0o777 | 0o440);
            fs::set_permissions(&to, fs::Permissions::from_mode(here))?;
            mode = (wanted != here).then_some(wanted);
        }
        let own = |id: u32| (id != 0).then_some(id);
        book.change(&file.to.to_string_lossy(), |attributes| {
            attributes.set_mode(mode);
            (attributes.uid, attributes.gid) = (own(data.uid()), own(data.gid()));
        });
    }
    fs::create_dir_all(&made)?;
    book.write(&made)
}

impl ImportedOverlay {
    /// Makes it below the directory of site overlays, where there is none of its name.
    ///
    /// # Errors
    /// It is there already, or cannot be written.
    pub fn write(&self, dir: &Path) -> std::io::Result<()> {
        if dir.join(&self.name).exists() {
            return Err(std::io::ErrorKind::AlreadyExists.into());
        }
        // Under a name that is no overlay until all of it is there.
        let staging = tempfile::Builder::new().prefix(".import-").tempdir_in(dir)?;
        write_overlay(self, staging.path())?;
        let made = staging.path().join(&self.name);
        fs::create_dir_all(made.join("rootfs"))?;
        fs::rename(made, dir.join(&self.name))
    }
}
