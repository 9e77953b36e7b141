//! The file that is being filled, checked as a whole, and named at last.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use wulfpack_shared::id::Hash;
use wulfpack_shared::image::{Header, Run, SignedHeader};
use wulfpack_shared::net::store::FetchStore;

use super::Exit;

/// An image on its way to a file.
#[derive(Debug)]
pub(super) struct Arriving {
    pub store: Arc<FetchStore>,
    /// Units that an interrupted fetch had stored already.
    pub held: Vec<Run>,
    /// Locked: two commands that fill the same files would undo each other's work.
    _lock: File,
    dir: PathBuf,
    out: PathBuf,
    header: Header,
}

impl Arriving {
    /// Goes on with what an interrupted fetch of the same version left beside `out`, or begins anew.
    pub(super) fn begin(out: &Path, signed: &SignedHeader, header: &Header) -> anyhow::Result<Self> {
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
        let (store, held) = match FetchStore::reopen(&dir, signed, header.clone()) {
            Ok(reopened) => reopened,
            Err(why) => {
                tracing::debug!(%why, "nothing to go on with");
                (FetchStore::create(&dir, signed, header.clone())?, vec![])
            }
        };
        Ok(Self { store: Arc::new(store), held, _lock: lock, dir, out: out.to_owned(), header: header.clone() })
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
        fs::rename(path, &self.out).with_context(|| format!("cannot name the image {}", self.out.display()))?;
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|dir| dir.sync_all())
            .context("cannot flush the directory")?;
        // The lock goes with the directory; whoever comes next makes a new one.
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, dir = %self.dir.display(), "the directory of the fetch is left behind");
        }
        Ok(())
    }
}

fn hash(path: &Path) -> std::io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Hash(*hasher.finalize().as_bytes()))
}
