//! The installed agent as the archive that every node loads. Packing takes seconds, and a node in its firmware waits for it: it
//! is done before the first one asks, and kept on disk for the next start of the head.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::boot::InitramfsFormat;
use crate::config::{create_dir, write_atomically};
use crate::http::{AgentArchive, in_memory};
use crate::image::{ArchiveCompression, Library, agent_archive};

/// What tells one file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

fn stamp(path: &Path) -> io::Result<Stamp> {
    let data = fs::metadata(path)?;
    Ok(Stamp(data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
}

/// The installed agent, packed once for each way of compression and again when it was replaced.
#[derive(Debug)]
pub(super) struct InstalledAgent {
    binary: PathBuf,
    /// Where packed archives are kept, each named after the hash of what is in it.
    kept: PathBuf,
    packed: Mutex<BTreeMap<InitramfsFormat, (Stamp, Bytes)>>,
}

impl InstalledAgent {
    pub(super) fn new(binary: PathBuf, kept: PathBuf) -> Self {
        Self { binary, kept, packed: Mutex::default() }
    }

    /// Packs what the nodes of these images will ask for. Blocks for seconds.
    pub(super) fn warm(&self, library: &Library) {
        for format in formats(library) {
            if let Err(reason) = self.archive(format) {
                tracing::error!(%reason, "the agent's archive");
            }
        }
    }

    fn pack(&self, format: InitramfsFormat) -> io::Result<Bytes> {
        // Another head may pack the same agent in another way.
        let mut hasher = blake3::Hasher::new();
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes()).update(&fs::read(&self.binary)?);
        let (name, suffix) = (format!("{}.{format}", hasher.finalize().to_hex()), format!(".{format}"));
        let path = self.kept.join(&name);
        if let Ok(bytes) = fs::read(&path)
            && InitramfsFormat::of(&bytes) == Some(format)
        {
            return Ok(in_memory(bytes));
        }
        let compression = match format {
            InitramfsFormat::Plain => ArchiveCompression::None,
            InitramfsFormat::Gzip => ArchiveCompression::Gzip,
            InitramfsFormat::Zstd => ArchiveCompression::Zstd,
            InitramfsFormat::Xz => ArchiveCompression::Xz,
        };
        let bytes = agent_archive(&self.binary, compression).map_err(io::Error::other)?;
        if let Err(error) = keep(&self.kept, &name, &suffix, &bytes) {
            tracing::warn!(%error, "the packed agent cannot be kept in {}: the next start packs it again", self.kept.display());
        }
        Ok(in_memory(bytes))
    }
}

impl AgentArchive for InstalledAgent {
    fn archive(&self, format: InitramfsFormat) -> Result<Bytes, String> {
        let path = self.binary.display();
        let stamp = stamp(&self.binary).map_err(|error| format!("the agent {path} is not installed: {error}"))?;
        // Held while packing: of many nodes that ask at once the first does the work for all.
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, bytes)) = packed.get(&format)
            && *known == stamp
        {
            return Ok(bytes.clone());
        }
        let bytes = self.pack(format).map_err(|error| format!("the agent {path} cannot be packed: {error}"))?;
        packed.insert(format, (stamp, bytes.clone()));
        Ok(bytes)
    }
}

/// How the modules of all active versions are packed; the agent goes with them in the same way.
fn formats(library: &Library) -> BTreeSet<InitramfsFormat> {
    let images = library.list().unwrap_or_default();
    let active = images.iter().filter_map(|image| library.active(&image.name).ok());
    let modules = active.flat_map(|version| {
        let kernels = version.header().kernels.iter();
        kernels.filter_map(|kernel| version.modules(&kernel.version)).collect::<Vec<_>>()
    });
    let begins = modules.filter_map(|path| {
        let mut first = [0; 6];
        File::open(path).and_then(|mut file| file.read_exact(&mut first)).ok()?;
        InitramfsFormat::of(&first)
    });
    begins.collect()
}

/// Keeps the archive, and no older one of its format.
fn keep(dir: &Path, name: &str, suffix: &str, bytes: &[u8]) -> io::Result<()> {
    create_dir(dir, 0o750)?;
    write_atomically(&dir.join(name), bytes, 0o640)?;
    for entry in fs::read_dir(dir)?.flatten() {
        let found = entry.file_name();
        if found != name && found.to_string_lossy().ends_with(suffix) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_packed_once_for_each_agent_and_kept_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (binary, kept) = (dir.path().join("wulf-agent"), dir.path().join("kept"));
        let start = || InstalledAgent::new(binary.clone(), kept.clone());
        let names = || {
            let entries = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            entries.collect::<BTreeSet<_>>()
        };
        assert!(start().archive(InitramfsFormat::Zstd).unwrap_err().contains("not installed"));
        fs::write(&binary, "one").unwrap();
        let one = start().archive(InitramfsFormat::Zstd).unwrap();
        let first = names();
        assert_eq!(first.len(), 1);
        // What is kept is what is handed out; a damaged file is made anew.
        let file = kept.join(first.first().unwrap());
        fs::write(&file, [&one[..], &[0; 512]].concat()).unwrap();
        assert_eq!(start().archive(InitramfsFormat::Zstd).unwrap().len(), one.len() + 512);
        fs::write(&file, "half").unwrap();
        assert_eq!(start().archive(InitramfsFormat::Zstd).unwrap(), one);
        // Another agent and another format.
        let agent = start();
        agent.archive(InitramfsFormat::Gzip).unwrap();
        fs::write(&binary, "another").unwrap();
        assert_ne!(agent.archive(InitramfsFormat::Zstd).unwrap(), one);
        let names = names();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.is_disjoint(&first));
    }
}
