//! `attributes.yaml`: owners and modes that commands wrote down. The source files cannot always have them: the head's own user, who is
//! not root, has to read every file, also one that nodes get with mode 0600 or as somebody's.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::source::{self, SourceError};
use crate::config::yaml;

/// Name of the file, beside `rootfs`.
const FILE: &str = "attributes.yaml";
const HEADER: &str =
    "# Written by wulf overlay chmod, chown, import and mkdir: owners and modes on nodes. overlay.yaml goes first.\n";

/// What is written down of one path: it goes before what the source file has, and behind `overlay.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attributes {
    /// Permissions in octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Owner, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
    /// Group, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gid: Option<u32>,
}

impl Attributes {
    pub(super) fn mode(&self) -> Option<u32> {
        self.mode.as_deref().and_then(octal)
    }

    pub(crate) fn set_mode(&mut self, mode: Option<u32>) {
        self.mode = mode.map(|mode| format!("{mode:04o}"));
    }
}

/// By path below `rootfs`, with the suffix of templates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Book(BTreeMap<String, Attributes>);

impl Book {
    /// What is written down of the overlay in `dir`.
    pub(super) fn read(dir: &Path) -> Result<Self, SourceError> {
        source::settings(&dir.join(FILE), parse)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Attributes> {
        self.0.get(path)
    }

    /// Changes what is written down of a path.
    pub(crate) fn change(&mut self, path: &str, change: impl FnOnce(&mut Attributes)) {
        change(self.0.entry(path.to_owned()).or_default());
        self.0.retain(|_, attributes| *attributes != Attributes::default());
    }

    /// The path is gone, and what was below it.
    pub(super) fn forget(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0.retain(|known, _| known != path && !known.starts_with(&below));
    }

    /// Writes it beside the overlay's `rootfs`, whole or not at all; where there is nothing to say there is no file.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let place = dir.join(FILE);
        if self.0.is_empty() {
            return match fs::remove_file(&place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let text = serde_saphyr::to_string(self).map_err(io::Error::other)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(HEADER.as_bytes())?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(&place).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Reads and checks the file's text.
fn parse(text: &str) -> Result<Book, String> {
    let book: Book = yaml::parse(text)?;
    match book.0.iter().find(|(_, attributes)| attributes.mode.is_some() && attributes.mode().is_none()) {
        Some((path, _)) => Err(format!("{path}: mode is not an octal number up to 7777")),
        None => Ok(book),
    }
}

/// Permissions as people write them.
pub(super) fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back_and_an_empty_book_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::read(dir.path()).unwrap();
        book.change("etc/key", |key| key.set_mode(Some(0o600)));
        book.change("etc/key", |key| (key.uid, key.gid) = (Some(0), Some(42)));
        book.change("etc/dir/x.j2", |file| file.uid = Some(7));
        book.write(dir.path()).unwrap();
        let read = Book::read(dir.path()).unwrap();
        assert_eq!(read, book);
        assert_eq!(read.get("etc/key").map(|key| (key.mode(), key.gid)), Some((Some(0o600), Some(42))));
        book.forget("etc/dir");
        assert_eq!(book.get("etc/dir/x.j2"), None);
        book.change("etc/key", |key| *key = Attributes::default());
        book.write(dir.path()).unwrap();
        assert!(!dir.path().join(FILE).exists());
        fs::write(dir.path().join(FILE), "etc/x: {mode: '999'}").unwrap();
        assert!(Book::read(dir.path()).unwrap_err().message.contains("octal"));
    }
}
