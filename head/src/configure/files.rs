//! Files as they are and as they will be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use similar::TextDiff;

use super::block::{self, BlockError};
use crate::config::{create_dir, write_atomically};

/// Lines around a change that are shown.
const AROUND: usize = 2;

/// A file that may have to change.
#[derive(Clone, Debug, Serialize)]
pub struct FileChange {
    /// Where it is.
    pub path: PathBuf,
    /// What it says now; nothing where there is none.
    #[serde(skip)]
    pub before: Option<String>,
    /// What it will say.
    #[serde(skip)]
    pub after: String,
    /// Permissions of a new file.
    #[serde(skip)]
    pub mode: u32,
    /// Whether it differs.
    pub changes: bool,
}

impl FileChange {
    /// The whole file.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn whole(path: PathBuf, after: String, mode: u32) -> io::Result<Self> {
        let before = read(&path)?;
        let changes = before.as_ref() != Some(&after);
        Ok(Self { path, before, after, mode, changes })
    }

    /// Our block in a file that is otherwise the administrator's.
    ///
    /// # Errors
    /// It cannot be read, or its marks do not fit together.
    pub(super) fn block(path: PathBuf, content: &str, mode: u32) -> io::Result<Self> {
        let before = read(&path)?;
        let marks =
            |error: BlockError| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
        let after = block::put(before.as_deref().unwrap_or_default(), content).map_err(marks)?;
        let changes = before.as_deref().unwrap_or_default() != after;
        Ok(Self { path, before, after, mode, changes })
    }

    /// What would change, line by line.
    pub fn diff(&self) -> String {
        let name = self.path.display().to_string();
        let before = self.before.as_deref().unwrap_or_default();
        let old = if self.before.is_some() { name.as_str() } else { "/dev/null" };
        TextDiff::from_lines(before, &self.after).unified_diff().context_radius(AROUND).header(old, &name).to_string()
    }

    /// Writes it, whole or not at all; an existing file keeps owner and mode.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> io::Result<()> {
        if !self.changes {
            return Ok(());
        }
        if let Some(dir) = self.path.parent() {
            create_dir(dir, 0o755)?;
        }
        write_atomically(&self.path, self.after.as_bytes(), self.mode)
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is no text in UTF-8", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}
