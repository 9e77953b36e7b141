//! Loading the registry, and changing it under a lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diff::{Change, diff};
use super::file::NodesFile;
use super::problem::{Problem, Problems, RegistryError};
use super::resolve::{Defaults, resolve};
use super::resolved::Snapshot;
use crate::config::{write_atomically, yaml};

/// What stands above the data: the file is rewritten as a whole.
const HEADER: &str = "\
# Nodes and profiles. Edit this file, or use `wulf node` and `wulf profile`: these rewrite it as a whole and keep the order
# of keys, but not comments; use `comment:` for what must stay. A running head takes every valid change over at once.
";

/// A registry that was read and found valid.
#[derive(Clone, Debug)]
pub struct Registry {
    file: NodesFile,
    snapshot: Arc<Snapshot>,
    warnings: Vec<Problem>,
}

impl Registry {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, RegistryError> {
        Self::load_with(path, Defaults::default())
    }

    /// The same with the head's defaults for what no entry says.
    pub fn load_with(path: &Path, defaults: Defaults) -> Result<Self, RegistryError> {
        let text = read(path)?;
        Self::parse(&text, defaults).map_err(|problems| RegistryError::Invalid { path: path.into(), problems })
    }

    /// Reads and checks a text.
    pub fn parse(text: &str, defaults: Defaults) -> Result<Self, Problems> {
        Self::new(parse(text)?, defaults)
    }

    /// Checks a registry.
    pub fn new(file: NodesFile, defaults: Defaults) -> Result<Self, Problems> {
        let (snapshot, warnings) = resolve(&file, defaults)?;
        Ok(Self { file, snapshot: Arc::new(snapshot), warnings })
    }

    /// The file as it is written: unmerged.
    pub const fn file(&self) -> &NodesFile {
        &self.file
    }

    /// All nodes with their profiles merged in.
    pub fn resolve(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// What is used otherwise than it says.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

fn read(path: &Path) -> Result<String, RegistryError> {
    std::fs::read_to_string(path).map_err(|source| RegistryError::Read { path: path.into(), source })
}

fn parse(text: &str) -> Result<NodesFile, Problems> {
    yaml::parse(text).map_err(|what| Problems(vec![Problem { line: None, place: String::new(), what }]))
}

/// The text of the file.
pub(super) fn render(file: &NodesFile) -> Result<String, serde_saphyr::SerializeError> {
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(file)?))
}

/// The registry while one process changes it: others that want to wait.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    before: NodesFile,
    /// The registry to be.
    pub file: NodesFile,
    /// Released when dropped.
    _lock: File,
}

impl Editor {
    /// Locks and reads the registry. It has to be YAML of the right form; what it says may be wrong, so that it can be mended.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        // Not the file itself: saving replaces it, and who waits would then hold a lock on a file that is gone.
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let failed = |source| RegistryError::Lock { path: lock_path.clone(), source };
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed)?;
        lock.lock().map_err(failed)?;
        let text = read(path)?;
        let file = parse(&text).map_err(|problems| RegistryError::Invalid { path: path.into(), problems })?;
        Ok(Self { path: path.into(), before: file.clone(), file, _lock: lock })
    }

    /// What saving would change.
    pub fn changes(&self) -> Vec<Change> {
        diff(&self.before, &self.file)
    }

    /// Checks the registry to be.
    pub fn check(&self) -> Result<Registry, RegistryError> {
        Registry::new(self.file.clone(), Defaults::default())
            .map_err(|problems| RegistryError::Invalid { path: self.path.clone(), problems })
    }

    /// Checks and writes it; a reader sees the old or the new file, never half of one.
    pub fn save(self) -> Result<Registry, RegistryError> {
        let registry = self.check()?;
        let failed = |source| RegistryError::Write { path: self.path.clone(), source };
        let text = render(&self.file).map_err(|error| failed(io::Error::other(error)))?;
        // What is written must read back as what was meant.
        let again = parse(&text).map_err(|problems| RegistryError::Invalid { path: self.path.clone(), problems })?;
        if again != self.file {
            return Err(failed(io::Error::other("a value in it cannot be written as YAML")));
        }
        write_atomically(&self.path, text.as_bytes(), 0o640).map_err(failed)?;
        Ok(registry)
    }
}

/// An empty registry with the `default` profile that Warewulf ships, as `wulf init` writes it.
pub const INITIAL_YAML: &str = include_str!("initial.yaml");
