//! A disk cache of chunks: what was fetched once need not be fetched again. Each fetch adds one pack with the chunks that no pack
//! had; packs that were used longest ago go first when the cache is full. Nothing in it is believed: each chunk is hashed when it
//! is used, and a pack with a bad one is thrown away.
//!
//! ```text
//!   DIR/lock            held by whoever changes the cache
//!   DIR/ID.pack         chunks, one after the other; its time of change is its last use
//!   DIR/ID.index        for each of them BLAKE3 and length, as in a chunk table; written last
//! ```

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use wulfpack_shared::id::{Hash, VersionId};
use wulfpack_shared::image::ENTRY_LEN;
use wulfpack_shared::limits::{CHUNK_MAX, CHUNKS_MAX};
use wulfpack_shared::net::store::{DonorUse, Donors, FetchStore, UnitStore as _};

const PACK: &str = "pack";
const INDEX: &str = "index";

/// See the file's head.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    /// Bytes of all packs and indexes.
    limit: u64,
}

/// One pack on disk.
struct Pack {
    index: PathBuf,
    pack: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// A cache in this directory, which is made (0700) if it is not there.
    pub(super) fn open(dir: &Path, limit: u64) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.with_context(|| format!("failed to make the cache {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned(), limit })
    }

    /// Adds what is in it to `donors`. A pack that cannot be read is passed over: it costs its chunks, no more.
    pub(super) fn lend(&self, donors: &mut Donors) -> Result<()> {
        for Pack { index, pack, .. } in self.packs()? {
            let added = entries(&index).and_then(|chunks| donors.add(pack.clone(), chunks).map_err(io::Error::other));
            if let Err(error) = added {
                tracing::warn!(%error, "the cache's {} is passed over", pack.display());
            }
        }
        Ok(())
    }

    /// Keeps the chunks of a complete image that no pack has, throws bad packs away, and makes room.
    pub(super) fn keep(&self, version: VersionId, store: &FetchStore) -> Result<()> {
        let lock = self.open_new("lock").context("failed to lock the cache")?;
        flock(&lock, FlockOperation::LockExclusive).context("failed to lock the cache")?;
        store.donor_uses().iter().for_each(|used| self.settle(used));
        let mut known: BTreeSet<Hash> = BTreeSet::new();
        for pack in self.packs()? {
            known.extend(entries(&pack.index).unwrap_or_default().into_iter().map(|(hash, _)| hash));
        }
        let units = store.geometry().units();
        let mut fresh = vec![];
        let mut bytes = 0;
        for unit in units.pages..units.total() {
            let Some((hash, len)) = store.geometry().hash(unit).zip(store.geometry().len(unit)) else { continue };
            let more = u64::from(len) + ENTRY_LEN as u64;
            if bytes + more <= self.limit && known.insert(hash) {
                bytes += more;
                fresh.push((unit, hash, len));
            }
        }
        self.make_room(bytes)?;
        if fresh.is_empty() { Ok(()) } else { self.write(version, store, &fresh).context("failed to fill the cache") }
    }

    /// A pack that was used is the youngest; one that was bad is none.
    fn settle(&self, DonorUse { path, used, bad }: &DonorUse) {
        if path.parent() != Some(&self.dir) || path.extension() != Some(OsStr::new(PACK)) {
            return;
        }
        let settled = if *bad > 0 {
            tracing::warn!("{bad} chunks of the cache's {} were bad; it is thrown away", path.display());
            remove(&path.with_extension(INDEX), path)
        } else if *used > 0 {
            File::open(path).and_then(|file| file.set_modified(SystemTime::now()))
        } else {
            Ok(())
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "the cache's {} is left as it is", path.display());
        }
    }

    fn packs(&self) -> Result<Vec<Pack>> {
        let mut packs = vec![];
        let listed =
            fs::read_dir(&self.dir).with_context(|| format!("failed to list the cache {}", self.dir.display()))?;
        for entry in listed {
            let index = entry?.path();
            let pack = index.with_extension(PACK);
            if index.extension() == Some(OsStr::new(INDEX))
                && let (Ok(index_meta), Ok(meta)) = (fs::metadata(&index), fs::metadata(&pack))
            {
                let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                packs.push(Pack { index, pack, bytes: meta.len() + index_meta.len(), used });
            }
        }
        packs.sort_by(|a, b| (a.used, &a.pack).cmp(&(b.used, &b.pack)));
        Ok(packs)
    }

    /// Removes the packs that were used longest ago until `more` bytes fit, and what a killed process left half written.
    fn make_room(&self, more: u64) -> Result<()> {
        let packs = self.packs()?;
        let whole: BTreeSet<&PathBuf> = packs.iter().map(|pack| &pack.pack).collect();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let ours = [PACK, "new"].iter().any(|kind| path.extension() == Some(OsStr::new(kind)));
            if ours && !whole.contains(&path) {
                fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
            }
        }
        let mut total: u64 = packs.iter().map(|pack| pack.bytes).sum();
        for pack in &packs {
            if total + more <= self.limit {
                break;
            }
            remove(&pack.index, &pack.pack).with_context(|| format!("failed to remove {}", pack.pack.display()))?;
            total -= pack.bytes;
        }
        Ok(())
    }

    fn write(&self, version: VersionId, store: &FetchStore, fresh: &[(u32, Hash, u32)]) -> Result<()> {
        // A version that is fetched again after a part of it was thrown away has a second pack.
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let name = format!("{version:.16}-{stamp}");
        let (pack, index) = (self.dir.join(format!("{name}.{PACK}")), self.dir.join(format!("{name}.{INDEX}")));
        let mut out = BufWriter::with_capacity(1 << 20, self.open_new(&format!("{name}.{PACK}"))?);
        let mut table = Vec::with_capacity(fresh.len() * ENTRY_LEN);
        for (unit, hash, len) in fresh {
            out.write_all(&store.read(*unit)?)?;
            table.extend_from_slice(&hash.0);
            table.extend_from_slice(&len.to_le_bytes());
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let temporary = format!("{name}.new");
        let mut file = self.open_new(&temporary)?;
        file.write_all(&table)?;
        file.sync_all()?;
        fs::rename(self.dir.join(temporary), index)?;
        tracing::debug!(chunks = fresh.len(), "kept in the cache as {}", pack.display());
        Ok(())
    }

    fn open_new(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.dir.join(name))
    }
}

/// The index goes first: without it the pack is nobody's.
fn remove(index: &Path, pack: &Path) -> io::Result<()> {
    fs::remove_file(index)?;
    fs::remove_file(pack)
}

/// What an index says of its pack.
fn entries(index: &Path) -> io::Result<Vec<(Hash, u32)>> {
    let strange = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is no index of a cache", index.display()));
    let len = fs::metadata(index)?.len();
    if len > CHUNKS_MAX as u64 * ENTRY_LEN as u64 || !len.is_multiple_of(ENTRY_LEN as u64) {
        return Err(strange());
    }
    let bytes = fs::read(index)?;
    let (entries, _) = bytes.as_chunks::<ENTRY_LEN>();
    let read = |entry: &[u8; ENTRY_LEN]| {
        let (hash, len) = entry.split_last_chunk::<4>()?;
        let len = u32::from_le_bytes(*len);
        Some((Hash(hash.try_into().ok()?), len)).filter(|_| (1..=CHUNK_MAX).contains(&len))
    };
    entries.iter().map(|entry| read(entry).ok_or_else(strange)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wulfpack_shared::identity::SecretKey;
    use wulfpack_shared::image::{ChunkTable, Compression, Header, Part, SignedHeader, TableBuilder, verify};

    use super::*;

    const CHUNK: usize = 100_000;
    const COUNT: usize = 10;

    /// A complete image in a store: ten chunks made from this seed.
    fn image(dir: &Path, seed: u8) -> (VersionId, FetchStore) {
        let blob: Vec<u8> =
            (0..CHUNK * COUNT).map(|at| seed.wrapping_add((at / 251) as u8).rotate_left(at as u32 % 7)).collect();
        let mut table = TableBuilder::default();
        blob.chunks(CHUNK).for_each(|chunk| table.push(chunk));
        let (table, count, pages) = table.finish().unwrap();
        let name = "debian".parse().unwrap();
        let header = Header::new(name, Part::of(&blob), Compression::Gzip, 1, count, pages, vec![], "test".into());
        let signed = SignedHeader::sign(&header, &SecretKey::from_seed([1; 32])).unwrap();
        let store = FetchStore::create(&dir.join(format!("image{seed}")), &signed, header.clone()).unwrap();
        store.geometry().set_table(ChunkTable::parse(&header, &table).unwrap());
        for (unit, chunk) in (store.geometry().units().pages..).zip(blob.chunks(CHUNK)) {
            store.write(unit, &verify(&Hash::of(chunk), chunk.to_vec().into()).unwrap()).unwrap();
        }
        (signed.id(), store)
    }

    fn lends(cache: &Cache, store: &FetchStore) -> usize {
        let mut donors = Donors::default();
        cache.lend(&mut donors).unwrap();
        let units = store.geometry().units();
        (units.pages..units.total()).filter(|unit| donors.contains(&store.geometry().hash(*unit).unwrap())).count()
    }

    fn bytes(cache: &Cache) -> u64 {
        fs::read_dir(&cache.dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let limit = (CHUNK * COUNT * 5 / 2) as u64;
        let cache = Cache::open(&dir.path().join("cache"), limit).unwrap();
        let images = [1, 2, 3].map(|seed| image(dir.path(), seed));
        for (version, store) in &images[..2] {
            cache.keep(*version, store).unwrap();
        }
        // The first one is used now; the second was not for an hour.
        let hour = SystemTime::now() - Duration::from_secs(3600);
        for pack in cache.packs().unwrap() {
            File::open(&pack.pack).unwrap().set_modified(hour).unwrap();
        }
        let (_, again) = image(&dir.path().join("cache"), 1);
        let mut donors = Donors::default();
        cache.lend(&mut donors).unwrap();
        let again = again.with_donors(donors);
        again.take_over().unwrap();
        cache.keep(images[0].0, &again).unwrap();
        cache.keep(images[2].0, &images[2].1).unwrap();
        assert_eq!(images.each_ref().map(|(_, store)| lends(&cache, store)), [10, 0, 10]);
    }

    #[test]
    fn it_never_takes_more_than_its_limit_and_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache"), (CHUNK * 7 / 2) as u64).unwrap();
        let (version, store) = image(dir.path(), 1);
        for _ in 0..2 {
            cache.keep(version, &store).unwrap();
            assert_eq!(lends(&cache, &store), 3);
            assert!(bytes(&cache) <= cache.limit, "{} bytes", bytes(&cache));
        }
        assert_eq!(cache.packs().unwrap().len(), 1);
    }
}
