//! The registry of a running head: new snapshots when the file changes, the last good one when it is broken.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wulfpack_shared::id::Hash;

use super::history::History;
use super::io::Registry;
use super::problem::{Problems, RegistryError};
use super::resolve::Defaults;
use super::resolved::Snapshot;

/// How often the file is looked at. One `stat` costs a microsecond; notification would miss network file systems.
const INTERVAL: Duration = Duration::from_secs(1);

/// Most that wait for a look at a time; others wait for them.
const LOOKS_MAX: usize = 16;

/// What the watcher knows.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The last valid registry.
    pub snapshot: Arc<Snapshot>,
    /// Why the file as it is now is not used; `None` if it is.
    pub error: Option<Arc<str>>,
}

/// The file and what was last seen of it. Pure polling, without a task: each `poll` looks once.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    defaults: Defaults,
    stamp: Option<Stamp>,
    hash: Option<Hash>,
    history: Option<History>,
    /// What is wrong with the registry in force, and stays so without a word; `None` as long as none is.
    accepted: Option<Problems>,
}

/// Differs whenever the file was replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = fs::metadata(path).ok()?;
    Some(Stamp { inode: data.ino(), size: data.size(), modified: (data.mtime(), data.mtime_nsec()) })
}

impl Source {
    /// The registry at `path`; nothing is read yet.
    pub fn new(path: &Path, defaults: Defaults) -> Self {
        Self { path: path.into(), defaults, stamp: None, hash: None, history: None, accepted: None }
    }

    /// Goes by these records: what a command saved is in force, what was changed by hand only if it is free of new mistakes.
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// The last state that was recorded: what is in force while the file is not.
    pub fn recorded(&mut self) -> Option<Registry> {
        let history = self.history.as_ref()?;
        let last = history.last().ok()??;
        let registry = Registry::read(&history.text(last.number).ok()?, self.defaults.clone()).ok()?;
        self.accepted = Some(registry.errors().clone());
        Some(registry)
    }

    /// The new registry or what is wrong with it; `None` if the file says what it said at the last call.
    pub fn poll(&mut self) -> Option<Result<Registry, RegistryError>> {
        let stamp = stamp(&self.path);
        if stamp.is_some() && stamp == self.stamp {
            return None;
        }
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(source) => {
                // Told once, not every second.
                let known = self.stamp.is_none() && self.hash == Some(Hash::default());
                (self.stamp, self.hash) = (None, Some(Hash::default()));
                return (!known).then(|| Err(RegistryError::Read { path: self.path.clone(), source }));
            }
        };
        let hash = Some(Hash::of(text.as_bytes()));
        let same = hash == self.hash;
        (self.stamp, self.hash) = (stamp, hash);
        if same {
            return None;
        }
        Some(self.accept(&text).map_err(|problems| RegistryError::Invalid { path: self.path.clone(), problems }))
    }

    /// The registry that a text makes, if it may come into force.
    fn accept(&mut self, text: &str) -> Result<Registry, Problems> {
        let registry = Registry::read(text, self.defaults.clone())?;
        let last = self.history.as_ref().and_then(|history| history.last().ok().flatten());
        let by_command = last.as_ref().is_some_and(|last| last.hash == Hash::of(text.as_bytes()));
        if !by_command {
            if self.accepted.is_none() && last.is_some() {
                self.recorded();
            }
            // With nothing to compare with, what already stands is listed, not refused (REAL-CLUSTERS, rule 33).
            let standing = self.accepted.as_ref().unwrap_or(registry.errors());
            let new = registry.errors().beyond(standing);
            if !new.is_empty() {
                return Err(new);
            }
            if let Some(history) = &self.history
                && let Err(error) = history.note(&self.path, text)
            {
                tracing::warn!(%error, dir = %history.dir().display(), "a change by hand cannot be recorded");
            }
        }
        self.accepted = Some(registry.errors().clone());
        Ok(registry)
    }
}

/// Follows the registry's file until dropped.
#[derive(Debug)]
pub struct RegistryWatcher {
    watched: watch::Receiver<Watched>,
    looks: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl RegistryWatcher {
    /// Reads the registry, which has to be readable now, and follows it. Must be called inside a tokio runtime.
    pub fn start(path: &Path, defaults: Defaults) -> Result<Self, RegistryError> {
        Self::follow(Source::new(path, defaults))
    }

    /// The same with a history: where the file cannot be used, what was recorded last is in force until it can.
    pub fn start_with(path: &Path, defaults: Defaults, history: History) -> Result<Self, RegistryError> {
        Self::follow(Source::new(path, defaults).with_history(history))
    }

    fn follow(mut source: Source) -> Result<Self, RegistryError> {
        let (first, error) = match source.poll() {
            Some(Ok(registry)) => (registry, None),
            Some(Err(error)) => match source.recorded() {
                Some(registry) => {
                    tracing::error!(%error, "the registry is not used, what was recorded last stays in force");
                    (registry, Some(error.to_string().into()))
                }
                None => return Err(error),
            },
            None => (Registry::load_with(&source.path, source.defaults.clone())?, None),
        };
        for warning in first.errors().0.iter().chain(first.warnings()) {
            tracing::warn!(%warning, "registry");
        }
        let (sender, watched) = watch::channel(Watched { snapshot: first.resolve(), error });
        let (looks, asked) = mpsc::channel(LOOKS_MAX);
        Ok(Self { watched, looks, task: tokio::spawn(follow(source, sender, asked)) })
    }

    /// All nodes as the file has them now: for whoever has just changed it. Returns when it was looked at.
    pub async fn look(&self) -> Arc<Snapshot> {
        let (looked, done) = oneshot::channel();
        // If the watcher has ended, what it saw last is the best there is.
        if self.looks.send(looked).await.is_ok() {
            let _ended = done.await;
        }
        self.snapshot()
    }

    /// All nodes as of now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.watched.borrow().snapshot)
    }

    /// Why the file as it is now is not used; `None` if it is.
    pub fn error(&self) -> Option<Arc<str>> {
        self.watched.borrow().error.clone()
    }

    /// Tells of every change.
    pub fn subscribe(&self) -> watch::Receiver<Watched> {
        self.watched.clone()
    }
}

impl Drop for RegistryWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(mut source: Source, sender: watch::Sender<Watched>, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !sender.is_closed() {
        let mut waiting = vec![];
        tokio::select! {
            _ = ticks.tick() => {}
            Some(looked) = asked.recv() => waiting.push(looked),
        }
        // One look is for all who asked before it.
        waiting.extend(std::iter::from_fn(|| asked.try_recv().ok()));
        // Ten thousand nodes take a while to read; the runtime's threads answer machines meanwhile.
        let polled = tokio::task::spawn_blocking(move || {
            let result = source.poll();
            (source, result)
        });
        let Ok((back, result)) = polled.await else { return };
        source = back;
        match result {
            None => {}
            Some(Ok(registry)) => {
                tracing::info!(nodes = registry.resolve().nodes().len(), "registry changed");
                sender.send_modify(|watched| *watched = Watched { snapshot: registry.resolve(), error: None });
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the changed registry is not used, the last valid one stays in force");
                sender.send_modify(|watched| watched.error = Some(error.to_string().into()));
            }
        }
        for looked in waiting {
            let _gone = looked.send(());
        }
    }
}
