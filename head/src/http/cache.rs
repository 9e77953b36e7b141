//! Files of image versions in memory: each is read once, however many nodes ask at the same moment, and the least used go first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;
use wulfpack_shared::id::VersionId;

use super::memory::in_memory;
use super::sources::VersionFile;

pub(super) type Key = (VersionId, String, VersionFile);

#[derive(Debug)]
pub(super) struct FileCache {
    bytes_max: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    clock: u64,
    by_key: BTreeMap<Key, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    used: u64,
    file: Arc<OnceCell<Bytes>>,
}

impl Entry {
    fn len(&self) -> usize {
        self.file.get().map_or(0, Bytes::len)
    }
}

/// Why a file is not there.
#[derive(Debug)]
pub(super) enum LoadError {
    /// There is none.
    Missing,
    /// It cannot be read.
    Failed(String),
}

impl FileCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file from memory, else from `load`, which may block.
    pub(super) async fn get<L>(&self, key: Key, load: L) -> Result<Bytes, LoadError>
    where
        L: FnOnce() -> Result<Option<Vec<u8>>, String> + Send + 'static,
    {
        let file = {
            let mut entries = self.entries();
            entries.clock += 1;
            let used = entries.clock;
            let entry = entries.by_key.entry(key.clone()).or_insert_with(|| Entry { used, file: Arc::default() });
            entry.used = used;
            Arc::clone(&entry.file)
        };
        let loaded = file
            .get_or_try_init(|| async {
                let load = move || load().map(|bytes| bytes.map(in_memory));
                let read =
                    tokio::task::spawn_blocking(load).await.map_err(|error| LoadError::Failed(error.to_string()))?;
                read.map_err(LoadError::Failed)?.ok_or(LoadError::Missing)
            })
            .await
            .cloned();
        self.trim(&key);
        loaded
    }

    /// Forgets what could not be loaded, and what is too much; never the one just used.
    fn trim(&self, newest: &Key) {
        let mut entries = self.entries();
        // Nobody else waits for it: an Arc in the map alone.
        if entries
            .by_key
            .get(newest)
            .is_some_and(|entry| entry.file.get().is_none() && Arc::strong_count(&entry.file) <= 2)
        {
            entries.by_key.remove(newest);
        }
        let mut total: usize = entries.by_key.values().map(Entry::len).sum();
        while total > self.bytes_max {
            let loaded = entries.by_key.iter().filter(|(key, entry)| *key != newest && entry.len() > 0);
            let Some(oldest) = loaded.min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone()) else { return };
            total -= entries.by_key.remove(&oldest).map_or(0, |entry| entry.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(release: &str) -> Key {
        (VersionId([1; 32]), release.into(), VersionFile::Kernel)
    }

    fn kept(cache: &FileCache) -> Vec<String> {
        cache.entries().by_key.keys().map(|key| key.1.clone()).collect()
    }

    #[tokio::test]
    async fn a_file_is_read_once_for_all_who_ask_at_the_same_moment() {
        let (cache, reads) = (FileCache::new(100), Arc::new(AtomicUsize::new(0)));
        let get = || {
            let reads = Arc::clone(&reads);
            cache.get(key("a"), move || {
                reads.fetch_add(1, Ordering::SeqCst);
                Ok(Some(vec![7; 10]))
            })
        };
        let all = futures::future::join_all((0..20).map(|_| get())).await;
        assert!(all.into_iter().all(|file| file.unwrap().len() == 10));
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_least_used_files_go_first() {
        let cache = FileCache::new(25);
        for release in ["a", "b", "a", "c"] {
            cache.get(key(release), || Ok(Some(vec![0; 10]))).await.unwrap();
        }
        assert_eq!(kept(&cache), ["a", "c"]);
        cache.get(key("large"), || Ok(Some(vec![0; 99]))).await.unwrap();
        assert_eq!(kept(&cache), ["large"]);
    }

    #[tokio::test]
    async fn what_is_missing_or_unreadable_is_not_remembered() {
        let cache = FileCache::new(25);
        assert!(matches!(cache.get(key("a"), || Ok(None)).await, Err(LoadError::Missing)));
        assert!(matches!(cache.get(key("a"), || Err("disk".into())).await, Err(LoadError::Failed(_))));
        assert!(kept(&cache).is_empty());
        assert!(cache.get(key("a"), || Ok(Some(vec![1]))).await.is_ok());
    }
}
