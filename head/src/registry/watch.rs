//! The registry of a running head: new snapshots when the file changes, the last good one when it is broken.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wulfpack_shared::id::Hash;

use super::io::Registry;
use super::problem::RegistryError;
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
        Self { path: path.into(), defaults, stamp: None, hash: None }
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
        let registry = Registry::parse(&text, self.defaults);
        Some(registry.map_err(|problems| RegistryError::Invalid { path: self.path.clone(), problems }))
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
    /// Reads the registry, which has to be valid now, and follows it. Must be called inside a tokio runtime.
    pub fn start(path: &Path, defaults: Defaults) -> Result<Self, RegistryError> {
        let mut source = Source::new(path, defaults);
        let first = match source.poll() {
            Some(registry) => registry?,
            None => Registry::load_with(path, defaults)?,
        };
        for warning in first.warnings() {
            tracing::warn!(%warning, "registry");
        }
        let (sender, watched) = watch::channel(Watched { snapshot: first.resolve(), error: None });
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
