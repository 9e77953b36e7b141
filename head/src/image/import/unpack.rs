//! Importing from a tar archive, and from the layers of a container image.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Imported;
use super::layer::Whiteout;
use super::pax::read_sparse_map;
use super::pipe::unpacked;
use super::reader::{TarError, TarReader};
use super::unpacker::{Unpacker, refused};
use crate::image::error::Doing as _;
use crate::image::initramfs::ArchiveCompression;
use crate::image::source::{Descriptor, Fetched};
use crate::image::{ImageError, Progress};

/// Unpacks the archive at `source` into the empty directory `target`.
pub(super) fn unpack(source: &Path, target: &Path, progress: &dyn Progress) -> Result<Imported, ImageError> {
    let mut file = File::open(source).doing("read", source)?;
    let total = file.metadata().doing("read", source)?.len();
    let mut magic = vec![];
    file.by_ref().take(8).read_to_end(&mut magic).doing("read", source)?;
    let compression = ArchiveCompression::detect(&magic);
    progress.stage("Unpacking", Some(total));
    let counted = Counted { source: io::Cursor::new(magic).chain(file), done: 0, progress };
    let broken = |error| ImageError::Archive { path: source.to_owned(), source: error };
    let mut archive = TarReader::new(compression.reader(counted).map_err(broken)?);
    let mut unpacker = Unpacker::new(target, source);
    loop {
        match archive.next() {
            Ok(Some(entry)) => unpacker.entry(&entry, &mut archive)?,
            Ok(None) => break,
            // Something compressed was meant to be one.
            Err(TarError::NotTar) if compression != ArchiveCompression::None => {
                return Err(broken(io::Error::other("what it holds is damaged or no tar archive")));
            }
            Err(TarError::NotTar) => return Err(ImageError::NotASource { path: source.to_owned() }),
            Err(TarError::Broken(error)) => return Err(broken(error)),
            Err(TarError::Entry(name, why)) => return refused(&name, why),
        }
    }
    // To the end: only there is the checksum of a compressed archive checked.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    unpacker.finish()
}

/// Tells how far a source was read.
struct Counted<'a, R> {
    source: R,
    done: u64,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.done += len as u64;
        self.progress.set(self.done);
        Ok(len)
    }
}

/// Applies the layers of a container image, the lowest first, to the empty directory `target` (OCI image-spec, "Image Layer
/// Filesystem Changeset").
pub(super) fn apply_layers(fetched: &Fetched, target: &Path, progress: &dyn Progress) -> Result<Imported, ImageError> {
    progress.stage("Unpacking layers", Some(fetched.layers.iter().map(|layer| layer.size).sum()));
    let mut unpacker = Unpacker::new(target, &fetched.blobs);
    let mut done = 0;
    for layer in &fetched.layers {
        let path = layer.digest.path(&fetched.blobs);
        unpacker.begin_layer(&path);
        let applied = apply(layer, &path, &mut unpacker, &|bytes| progress.set(done + bytes));
        if let Err(error) = applied {
            // A damaged layer is the cause, whatever it led to; and it must not be found in the cache again.
            if matches!(error, ImageError::Layer { .. } | ImageError::Archive { .. }) {
                fetched.discard(&layer.digest)?;
            }
            return Err(error);
        }
        done += layer.size;
    }
    unpacker.finish()
}

fn apply(
    layer: &Descriptor,
    path: &Path,
    unpacker: &mut Unpacker<'_>,
    each: &(dyn Fn(u64) + Sync),
) -> Result<(), ImageError> {
    let broken = |error| ImageError::Archive { path: path.to_owned(), source: error };
    unpacked(layer, path, each, |stream| {
        let mut archive = TarReader::layer(stream);
        loop {
            match archive.next() {
                Ok(Some(entry)) => unpacker.entry(&entry, &mut archive)?,
                Ok(None) => break,
                Err(TarError::NotTar) => return Err(broken(io::Error::other("it is no tar archive"))),
                Err(TarError::Broken(error)) => return Err(broken(error)),
                Err(TarError::Entry(name, why)) => return refused(&name, why),
            }
        }
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
        Ok(())
    })
}

/// How many entries a plain layer has, without unpacking it: what anybody can make the reader do.
///
/// # Errors
/// Says what is wrong with it.
pub fn layer_entries(bytes: &[u8]) -> Result<u64, String> {
    let mut archive = TarReader::layer(bytes);
    let mut count = 0;
    loop {
        match archive.next() {
            Ok(Some(entry)) => {
                count += 1;
                Whiteout::parse(&entry.name)?;
                if let Some((_, size)) = entry.pax.sparse {
                    read_sparse_map(&mut archive, size).map_err(|error| error.to_string())?;
                }
            }
            Ok(None) => return Ok(count),
            Err(TarError::NotTar) => return Err("no archive".into()),
            Err(TarError::Broken(error)) => return Err(error.to_string()),
            Err(TarError::Entry(_, why)) => return Err(why),
        }
    }
}

/// The names of the first entries of an archive, to guess what it is; none where it cannot be read.
pub(super) fn first_names(source: &Path) -> HashSet<PathBuf> {
    let names = || -> Option<HashSet<PathBuf>> {
        let mut file = File::open(source).ok()?;
        let mut magic = vec![];
        file.by_ref().take(8).read_to_end(&mut magic).ok()?;
        let whole = io::Cursor::new(magic.clone()).chain(file);
        let mut archive = TarReader::new(ArchiveCompression::detect(&magic).reader(whole).ok()?);
        let mut names = HashSet::new();
        while let Ok(Some(entry)) = archive.next() {
            names.insert(PathBuf::from(String::from_utf8_lossy(&entry.name).trim_start_matches("./")));
            if names.len() == 2 {
                break;
            }
        }
        Some(names)
    };
    names().unwrap_or_default()
}
