//! The file that is being filled, checked as a whole, and named at last.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use wulfpack_shared::id::Hash;
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::image::{Header, Run, SignedHeader};
use wulfpack_shared::net::store::{BLOB_FILE, Donors, FetchStore, UnitStore as _};

use super::Exit;

/// The member's key lies here until the image is complete: a token counts for the first key that shows it, so that the
/// command that goes on must show the same one.
const KEY_FILE: &str = "key";

/// The hidden directory beside the file that is wanted, locked.
#[derive(Debug)]
pub(super) struct Place {
    /// Two commands that fill the same files would undo each other's work.
    _lock: File,
    dir: PathBuf,
    out: PathBuf,
}

impl Place {
    /// Makes the directory beside `out`, or takes the one that an interrupted fetch left.
    pub(super) fn claim(out: &Path) -> anyhow::Result<Self> {
        let name = out.file_name().ok_or_else(|| Exit::Usage.because("--out names no file"))?;
        if out.is_dir() {
            return Err(Exit::Usage.because(format!("--out {} is a directory; name a file in it", out.display())));
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".wulfpack");
        let dir = out.with_file_name(hidden);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make {}", dir.display()));
            }
            _ => {}
        }
        let lock = File::open(&dir).with_context(|| format!("cannot open {}", dir.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Exit::Failed.because(format!("another command is fetching to {}", out.display())));
        }
        Ok(Self { _lock: lock, dir, out: out.to_owned() })
    }

    /// The key of this fetch: the one that an interrupted command used, or a fresh one.
    pub(super) fn key(&self) -> anyhow::Result<SecretKey> {
        let path = self.dir.join(KEY_FILE);
        let kept = fs::read(&path).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        if let Some(seed) = kept {
            return Ok(SecretKey::from_seed(seed));
        }
        let key =
            SecretKey::generate().map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))?;
        let write = || -> std::io::Result<()> {
            let temporary = path.with_extension("new");
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&*key.seed())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(key)
    }

    /// Gives up a place that holds nothing yet: a command that was turned down leaves no trace.
    pub(super) fn abandon(self) {
        let untouched = !self.dir.join(BLOB_FILE).exists();
        if untouched && let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::debug!(%error, dir = %self.dir.display(), "left behind");
        }
    }
}

/// An image on its way to a file.
#[derive(Debug)]
pub(super) struct Arriving {
    pub store: Arc<FetchStore>,
    /// Units that an interrupted fetch had stored already.
    pub held: Vec<Run>,
    /// Bytes of those units.
    pub resumed: u64,
    place: Place,
    header: Header,
}

impl Arriving {
    /// Goes on with what an interrupted fetch of the same version left, or begins anew.
    pub(super) fn begin(place: Place, signed: &SignedHeader, header: &Header, donors: Donors) -> anyhow::Result<Self> {
        let dir = &place.dir;
        let (store, mut held) = match FetchStore::reopen(dir, signed, header.clone()) {
            Ok(reopened) => reopened,
            Err(why) => {
                tracing::debug!(%why, "nothing to go on with");
                (FetchStore::create(dir, signed, header.clone())?, vec![])
            }
        };
        let store = store.with_donors(donors);
        let resumed = held.iter().filter_map(|run| store.geometry().run_len(*run)).sum();
        if store.geometry().table().is_some() {
            // Else the swarm says when it is.
            held.extend(store.take_over()?);
        }
        Ok(Self { store: Arc::new(store), held, resumed, place, header: header.clone() })
    }

    /// Hashes the whole blob and gives it its name. The store goes on serving from it.
    pub(super) fn finish(&self) -> anyhow::Result<()> {
        let path = self.store.blob_path();
        let found = hash(path).with_context(|| format!("cannot read {}", path.display()))?;
        if found != self.header.blob.hash {
            let expected = self.header.blob.hash;
            let why = format!("the image has the hash {found:.16}, its manifest says {expected:.16}");
            return Err(Exit::Untrusted.because(why));
        }
        let Place { dir, out, .. } = &self.place;
        fs::rename(path, out).with_context(|| format!("cannot name the image {}", out.display()))?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|dir| dir.sync_all())
            .context("cannot flush the directory")?;
        // The lock goes with the directory; whoever comes next makes a new one.
        if let Err(error) = fs::remove_dir_all(dir) {
            tracing::warn!(%error, dir = %dir.display(), "the directory of the fetch is left behind");
        }
        Ok(())
    }
}

fn hash(path: &Path) -> std::io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Hash(*hasher.finalize().as_bytes()))
}
