//! Archives of modules for one network card each, made when the first machine with such a card asks for one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;
use wulfpack_shared::id::VersionId;

use super::cache::FileCache;
use super::sources::VersionFile;
use crate::image::{Drivers, PciId, with_drivers};

/// Most bytes of such archives: some hundred of them.
const CACHE_MAX: usize = 256 * 1024 * 1024;
/// Most archives whose drivers are known; more are forgotten together.
const KNOWN_MAX: usize = 64;

type Kernel = (VersionId, String);

#[derive(Debug)]
pub(super) struct Closures {
    known: Mutex<BTreeMap<Kernel, Arc<OnceCell<Drivers>>>>,
    files: FileCache,
}

impl Default for Closures {
    fn default() -> Self {
        Self { known: Mutex::default(), files: FileCache::new(CACHE_MAX) }
    }
}

impl Closures {
    /// What a machine that boots from this card needs of the archive of modules, and words for whom that is; all of it where
    /// nothing is known of the card.
    pub(super) async fn of(&self, version: VersionId, release: &str, card: PciId, archive: Bytes) -> (Bytes, String) {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            Arc::clone(known.entry((version, release.to_owned())).or_default())
        };
        let read = || {
            let archive = archive.clone();
            async move {
                tokio::task::spawn_blocking(move || Drivers::of(&archive).unwrap_or_default()).await.unwrap_or_default()
            }
        };
        let drivers = cell.get_or_init(read).await.for_card(card);
        if drivers.is_empty() {
            return (archive, String::new());
        }
        let names = drivers.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        // As many archives as there are drivers, whatever machines say of themselves.
        let key = (version, format!("{release} {names}"), VersionFile::Modules);
        let whole = archive.clone();
        let made = self.files.get(key, move || with_drivers(&whole, &drivers).map_err(|error| error.to_string())).await;
        match made {
            Ok(smaller) if smaller.len() < archive.len() => (smaller, format!(" for {names}")),
            Ok(_) => (archive, String::new()),
            Err(error) => {
                tracing::warn!(%version, release, %card, ?error, "no archive of modules for one card");
                (archive, String::new())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::in_memory;
    use super::*;

    #[tokio::test]
    async fn what_is_no_archive_is_given_whole() {
        let (closures, archive) = (Closures::default(), in_memory(vec![0x28, 0xb5, 0x2f, 0xfd, 1]));
        let card = "01-80-86-10-d3".parse().unwrap();
        assert_eq!(closures.of(VersionId([1; 32]), "6.1", card, archive.clone()).await, (archive, String::new()));
    }
}
