//! Loading the registry, and changing it under a lock.

use std::cell::OnceCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wulfpack_shared::id::Hash;

use super::diff::{Change, diff};
use super::file::NodesFile;
use super::history::{Deed, History, Record};
use super::problem::{Problem, Problems, RegistryError};
use super::resolve::{Defaults, resolve};
use super::resolved::Snapshot;
use super::surroundings::Surroundings;
use crate::config::{write_atomically, yaml};

/// What stands above the data: the file is rewritten as a whole.
const HEADER: &str = "\
# Nodes and profiles. Edit this file, or use `wulf node` and `wulf profile`: these rewrite it as a whole and keep the order
# of keys, but not comments; use `comment:` for what must stay. A running head takes every valid change over at once.
";

/// A registry that was read. What in it cannot be used is left out of its nodes, and listed.
#[derive(Clone, Debug)]
pub struct Registry {
    file: NodesFile,
    snapshot: Arc<Snapshot>,
    errors: Problems,
    warnings: Vec<Problem>,
}

impl Registry {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, RegistryError> {
        Self::load_with(path, Defaults::default())
    }

    /// The same with the head's defaults for what no entry says.
    pub fn load_with(path: &Path, defaults: Defaults) -> Result<Self, RegistryError> {
        let text = read(path)?;
        Self::read(&text, defaults).map_err(|problems| RegistryError::Invalid { path: path.into(), problems })
    }

    /// Reads a text. An error means that it has not the form of a registry; mistakes in what it says are listed.
    pub fn read(text: &str, defaults: Defaults) -> Result<Self, Problems> {
        Ok(Self::new(parse(text)?, defaults))
    }

    /// Reads a text in which nothing may be wrong.
    pub fn parse(text: &str, defaults: Defaults) -> Result<Self, Problems> {
        let registry = Self::read(text, defaults)?;
        if registry.errors.is_empty() { Ok(registry) } else { Err(registry.errors) }
    }

    /// Resolves a registry.
    pub fn new(file: NodesFile, defaults: Defaults) -> Self {
        let resolved = resolve(&file, &defaults);
        let (errors, warnings) = (resolved.errors, resolved.warnings);
        Self { file, snapshot: Arc::new(resolved.snapshot), errors, warnings }
    }

    /// The file as it is written: unmerged.
    pub const fn file(&self) -> &NodesFile {
        &self.file
    }

    /// All nodes with their profiles merged in.
    pub fn resolve(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// What in it cannot be used.
    pub const fn errors(&self) -> &Problems {
        &self.errors
    }

    /// What is used otherwise than it says.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

fn read(path: &Path) -> Result<String, RegistryError> {
    std::fs::read_to_string(path).map_err(|source| RegistryError::Read { path: path.into(), source })
}

pub(super) fn parse(text: &str) -> Result<NodesFile, Problems> {
    yaml::parse(text).map_err(|what| Problems(vec![Problem { line: None, place: String::new(), what, see: None }]))
}

/// The text of the file.
pub(super) fn render(file: &NodesFile) -> Result<String, serde_saphyr::SerializeError> {
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(file)?))
}

/// The registry while one process changes it: others that want to wait.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    /// The text as it is on the disk, and what it says.
    text: String,
    before: NodesFile,
    /// The same, resolved: once, and only where it is needed.
    resolved: OnceCell<Arc<Snapshot>>,
    /// The registry to be.
    pub file: NodesFile,
    history: Option<History>,
    surroundings: Surroundings,
    /// Problems that stand, and why a change by hand is not in force.
    standing: Problems,
    not_in_force: Problems,
    /// Released when dropped.
    _lock: File,
}

impl Editor {
    /// Locks and reads the registry. It has to be YAML of the right form; what it says may be wrong, so that it can be mended.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let lock = lock(path)?;
        let text = read(path)?;
        let file = parse(&text).map_err(|problems| RegistryError::Invalid { path: path.into(), problems })?;
        let resolved = resolve(&file, &Defaults::default());
        let standing = resolved.errors;
        Ok(Self {
            path: path.into(),
            text,
            before: file.clone(),
            resolved: OnceCell::from(Arc::new(resolved.snapshot)),
            file,
            history: None,
            surroundings: Surroundings::default(),
            standing,
            not_in_force: Problems::default(),
            _lock: lock,
        })
    }

    /// Locks a registry that may have no readable form, to replace it by `text`, which has.
    pub fn open_to_replace(path: &Path, text: &str) -> Result<Self, RegistryError> {
        let lock = lock(path)?;
        let invalid = |problems| RegistryError::Invalid { path: path.into(), problems };
        let (now, file) = (read(path)?, parse(text).map_err(invalid)?);
        let before = parse(&now).unwrap_or_default();
        // What is taken back was in force once.
        let standing = resolve(&file, &Defaults::default()).errors;
        let (surroundings, not_in_force) = (Surroundings::default(), Problems::default());
        Ok(Self {
            path: path.into(),
            text: now,
            before,
            resolved: OnceCell::new(),
            file,
            history: None,
            surroundings,
            standing,
            not_in_force,
            _lock: lock,
        })
    }

    /// Records changes here. What was changed by hand since the last record counts as standing only if the head uses it.
    pub fn with_history(mut self, history: History) -> Result<Self, RegistryError> {
        let failed = |source| RegistryError::History { path: history.dir().into(), source };
        if let Some(last) = history.last().map_err(failed)?
            && last.hash != Hash::of(self.text.as_bytes())
            && let Ok(text) = history.text(last.number)
            && let Ok(recorded) = Registry::read(&text, Defaults::default())
        {
            self.not_in_force = self.standing.beyond(&recorded.errors);
            self.standing = recorded.errors;
        }
        self.history = Some(history);
        Ok(self)
    }

    /// Checks changes against what surrounds the registry: images, overlays, networks.
    #[must_use]
    pub fn with_surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = surroundings;
        self
    }

    /// The registry as it was opened.
    pub const fn before(&self) -> &NodesFile {
        &self.before
    }

    /// What saving would change.
    pub fn changes(&self) -> Vec<Change> {
        diff(&self.before, &self.file)
    }

    /// Checks the registry to be: what was wrong before may stay, nothing new may be. With `force` only its form counts.
    pub fn check(&self, force: bool) -> Result<Registry, RegistryError> {
        let registry = Registry::new(self.file.clone(), Defaults::default());
        if force {
            return Ok(registry);
        }
        let path = || self.path.clone();
        let new = registry.errors.beyond(&self.standing);
        let by_hand = Problems(new.0.iter().filter(|problem| self.was_by_hand(problem)).cloned().collect());
        let mut problems = new.beyond(&by_hand);
        if problems.is_empty() && !by_hand.is_empty() {
            return Err(RegistryError::NotInForce { path: path(), problems: by_hand });
        }
        let before = self.resolved.get_or_init(|| Arc::new(resolve(&self.before, &Defaults::default()).snapshot));
        problems.0.extend(self.surroundings.check(before, &registry));
        if problems.is_empty() { Ok(registry) } else { Err(RegistryError::Invalid { path: path(), problems }) }
    }

    fn was_by_hand(&self, problem: &Problem) -> bool {
        self.not_in_force.0.iter().any(|standing| standing.identity() == problem.identity())
    }

    /// Checks and writes it; a reader sees the old or the new file, never half of one.
    pub fn save(self) -> Result<Registry, RegistryError> {
        self.save_as(&Deed::default(), false).map(|(registry, _)| registry)
    }

    /// The same, recorded with who did what and why, where the editor has a history. The record comes first: killed in between,
    /// a process leaves the old file and a record that the next one completes.
    pub fn save_as(self, deed: &Deed, force: bool) -> Result<(Registry, Option<Record>), RegistryError> {
        let registry = self.check(force)?;
        self.save_checked(registry, deed)
    }

    /// The same for what [`Self::check`] has just returned: ten thousand nodes are not checked twice.
    pub fn save_checked(self, registry: Registry, deed: &Deed) -> Result<(Registry, Option<Record>), RegistryError> {
        debug_assert!(registry.file == self.file, "what is saved is what was checked");
        let failed = |source| RegistryError::Write { path: self.path.clone(), source };
        let text = render(&self.file).map_err(|error| failed(io::Error::other(error)))?;
        // What is written must read back as what was meant.
        let again = parse(&text).map_err(|problems| RegistryError::Invalid { path: self.path.clone(), problems })?;
        if again != self.file {
            return Err(failed(io::Error::other("a value in it cannot be written as YAML")));
        }
        let record = self.record(deed, &text)?;
        write_atomically(&self.path, text.as_bytes(), 0o640).map_err(failed)?;
        Ok((registry, record))
    }

    fn record(&self, deed: &Deed, text: &str) -> Result<Option<Record>, RegistryError> {
        let Some(history) = &self.history else { return Ok(None) };
        let work = || {
            // A state that never was in force is none.
            if self.not_in_force.is_empty() && parse(&self.text).is_ok() {
                history.note(&self.path, &self.text)?;
            }
            history.add(deed, text)
        };
        work().map(Some).map_err(|source| RegistryError::History { path: history.dir().into(), source })
    }
}

/// Records what the file says now, if somebody changed it by hand and a running head takes that over.
pub fn note_by_hand(history: &History, path: &Path) -> Result<(), RegistryError> {
    let text = read(path)?;
    let failed = |source| RegistryError::History { path: history.dir().into(), source };
    let Ok(now) = Registry::read(&text, Defaults::default()) else { return Ok(()) };
    let last = history.last().map_err(failed)?;
    if let Some(last) = last.filter(|last| last.hash != Hash::of(text.as_bytes()))
        && let Ok(recorded) = Registry::read(&history.text(last.number).map_err(failed)?, Defaults::default())
        && !now.errors.beyond(&recorded.errors).is_empty()
    {
        return Ok(());
    }
    history.note(path, &text).map(drop).map_err(failed)
}

/// Not the file itself: saving replaces it, and who waits would then hold a lock on a file that is gone.
fn lock(path: &Path) -> Result<File, RegistryError> {
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
    Ok(lock)
}

/// An empty registry with the `default` profile that Warewulf ships, as `wulf init` writes it.
pub const INITIAL_YAML: &str = include_str!("initial.yaml");
