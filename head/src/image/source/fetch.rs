//! A source becomes layers on this head's disk, each known by its digest.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use wulfpack_shared::limits::OCI_DOCUMENT_MAX;
use wulfpack_shared::time::UnixTime;

use super::cache::InUse;
use super::document::config_platform;
use super::skopeo::{Skopeo, arrived};
use super::{Credentials, Descriptor, Digest, Document, DocumentError, LayerCache, Origin, Platform, Source};
use crate::image::error::Doing as _;
use crate::image::{ImageError, Progress};

/// How images are fetched.
#[derive(Debug)]
pub struct FetchSettings {
    /// Where layers are kept.
    pub cache: LayerCache,
    /// Who we are at the registry; `None` leaves it to containers-auth.json(5) and docker's own configuration.
    pub credentials: Option<Credentials>,
    /// Plain HTTP, or TLS whose certificate is not checked.
    pub plain_http: bool,
    /// The machine that the image is for; `None`: like this head.
    pub platform: Option<Platform>,
    /// The program.
    pub skopeo: PathBuf,
    /// Who imports, for [`Origin`].
    pub importer: String,
}

/// One image, known by its content.
#[derive(Clone, Debug)]
pub(in crate::image) struct Resolved {
    /// Of its manifest.
    pub(in crate::image) digest: Digest,
    index: Option<Digest>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An image whose layers lie on this head.
#[derive(Debug)]
pub(in crate::image) struct Fetched {
    /// The lowest first.
    pub(in crate::image) layers: Vec<Descriptor>,
    /// The directory of their blobs.
    pub(in crate::image) blobs: PathBuf,
    /// What will be remembered.
    pub(in crate::image) origin: Origin,
    cache: Option<LayerCache>,
    _in_use: Option<InUse>,
    _layout: Option<TempDir>,
}

impl Fetched {
    /// A layer that turned out to be damaged must not be found in the cache again.
    pub(in crate::image) fn discard(&self, digest: &Digest) -> Result<(), ImageError> {
        self.cache.as_ref().map_or(Ok(()), |cache| cache.remove(digest))
    }
}

fn wrong(what: &impl ToString) -> impl FnOnce(DocumentError) -> ImageError {
    let what = what.to_string();
    move |why| ImageError::Source { what, why: why.to_string() }
}

fn wanted(settings: &FetchSettings) -> Platform {
    settings.platform.clone().unwrap_or_else(Platform::of_head)
}

/// Which image a source means right now; `None` where only reading all of it would tell.
pub(in crate::image) fn resolve(source: &Source, settings: &FetchSettings) -> Result<Option<Resolved>, ImageError> {
    match source {
        Source::Registry(reference) => {
            let skopeo = skopeo(source, settings)?;
            let bytes = skopeo.inspect(&source.to_string())?;
            let digest = Digest::of(&bytes);
            if let Some((_, pinned)) = reference.split_once('@')
                && pinned != digest.to_string()
            {
                return Err(ImageError::Source { what: source.to_string(), why: mismatch(&digest) });
            }
            let read = |digest: &Digest| skopeo.inspect(&format!("docker://{}@{digest}", repository(reference)));
            descend(source, digest, bytes, &wanted(settings), read).map(Some)
        }
        Source::Layout { dir, tag } => {
            let index = read_document(&dir.join("index.json"))?;
            let Document::Index(index) = Document::parse(&index).map_err(wrong(source))? else {
                return Err(ImageError::Source { what: source.to_string(), why: "its index.json is no index".into() });
            };
            let read = |digest: &Digest| read_document(&digest.path(&dir.join("blobs")));
            let entry = Document::tagged(&index, tag.as_deref());
            // A layout with one entry for each machine says it in the entries.
            let entry = entry.or_else(|error| Document::choose(&index, &wanted(settings)).map_err(|_| error));
            let digest = entry.map_err(wrong(source))?.digest.clone();
            let bytes = checked(source, &digest, read(&digest)?)?;
            descend(source, digest, bytes, &wanted(settings), read).map(Some)
        }
        Source::Archive { .. } | Source::Path(_) => Ok(None),
    }
}

/// From what a name means to one image: through an index, if it is one.
fn descend(
    source: &Source,
    digest: Digest,
    bytes: Vec<u8>,
    platform: &Platform,
    read: impl Fn(&Digest) -> Result<Vec<u8>, ImageError>,
) -> Result<Resolved, ImageError> {
    match Document::parse(&bytes).map_err(wrong(source))? {
        Document::Manifest { config, layers } => Ok(Resolved { digest, index: None, config, layers }),
        Document::Index(index) => {
            let chosen = Document::choose(&index, platform).map_err(wrong(source))?.digest.clone();
            let bytes = checked(source, &chosen, read(&chosen)?)?;
            match Document::parse(&bytes).map_err(wrong(source))? {
                Document::Manifest { config, layers } => {
                    Ok(Resolved { digest: chosen, index: Some(digest), config, layers })
                }
                Document::Index(_) => {
                    let why = "its index names another index instead of an image".to_owned();
                    Err(ImageError::Source { what: source.to_string(), why })
                }
            }
        }
    }
}

fn mismatch(digest: &Digest) -> String {
    format!("its manifest is not the one asked for: it has digest {digest}")
}

fn checked(source: &Source, expected: &Digest, bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    let digest = Digest::of(&bytes);
    if digest == *expected {
        return Ok(bytes);
    }
    Err(ImageError::Source { what: source.to_string(), why: mismatch(&digest) })
}

/// A reference without tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    name[start..].find(':').map_or(name, |colon| &name[..start + colon])
}

fn read_document(path: &Path) -> Result<Vec<u8>, ImageError> {
    let mut bytes = vec![];
    let file = File::open(path).doing("read", path)?;
    file.take(OCI_DOCUMENT_MAX as u64 + 1).read_to_end(&mut bytes).doing("read", path)?;
    Ok(bytes)
}

fn skopeo(source: &Source, settings: &FetchSettings) -> Result<Skopeo, ImageError> {
    Skopeo::new(&settings.skopeo, source.registry(), settings.credentials.as_ref(), settings.plain_http)
}

/// Brings an image's layers here. What the cache has is not fetched again.
pub(in crate::image) fn fetch(
    source: &Source,
    resolved: Option<Resolved>,
    settings: &FetchSettings,
    progress: &dyn Progress,
) -> Result<Fetched, ImageError> {
    if let (Source::Layout { dir, .. }, Some(resolved)) = (source, &resolved) {
        return finish(source, resolved, settings, dir.join("blobs"), None);
    }
    let cache = &settings.cache;
    let in_use = cache.enter()?;
    let layout = cache.temporary()?;
    let place = layout.path().join("layout");
    let skopeo = skopeo(source, settings)?;
    let resolved = match (source, resolved) {
        (Source::Registry(reference), Some(resolved)) => {
            pull(&skopeo, reference, &resolved, &wanted(settings), &place, cache, progress)?;
            resolved
        }
        _ => {
            progress.stage("Reading the archive", None);
            skopeo.copy(&source.to_string(), &wanted(settings), &place, &cache.blobs(), || {
                progress.set(arrived(&place));
            })?;
            // skopeo has checked what it read; the layout it made has one image.
            let made = Source::Layout { dir: place.clone(), tag: None };
            let index = Document::parse(&read_document(&place.join("index.json"))?).map_err(wrong(&made))?;
            let Document::Index(index) = index else {
                return Err(ImageError::Source { what: source.to_string(), why: "skopeo made no index".into() });
            };
            let digest = Document::tagged(&index, None).map_err(wrong(source))?.digest.clone();
            let read = |digest: &Digest| read_document(&digest.path(&cache.blobs()));
            let bytes = checked(source, &digest, read(&digest)?)?;
            descend(source, digest, bytes, &wanted(settings), read)?
        }
    };
    let kept = (cache.clone(), in_use, layout);
    finish(source, &resolved, settings, cache.blobs(), Some(kept))
}

fn pull(
    skopeo: &Skopeo,
    reference: &str,
    resolved: &Resolved,
    platform: &Platform,
    layout: &Path,
    cache: &LayerCache,
    progress: &dyn Progress,
) -> Result<(), ImageError> {
    let parts = || resolved.layers.iter().chain([&resolved.config]);
    let missing: Vec<&Descriptor> = parts().filter(|part| !cache.has(&part.digest, part.size)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for part in &missing {
        // Of another size: a file that was cut short must not be taken for what it is named after.
        cache.remove(&part.digest)?;
    }
    progress.stage("Fetching layers", Some(missing.iter().map(|part| part.size).sum()));
    let look = || {
        let whole = missing.iter().filter(|part| part.digest.path(&cache.blobs()).exists());
        progress.set(whole.map(|part| part.size).sum::<u64>() + arrived(layout));
    };
    // By digest: what was looked at is what is fetched, whatever became of the tag.
    let pinned = format!("docker://{}@{}", repository(reference), resolved.digest);
    skopeo.copy(&pinned, platform, layout, &cache.blobs(), look)?;
    match parts().find(|part| !cache.has(&part.digest, part.size)) {
        None => Ok(()),
        Some(part) => {
            let why = format!("the registry's {} has not the {} bytes that the manifest says", part.digest, part.size);
            Err(ImageError::Source { what: format!("docker://{reference}"), why })
        }
    }
}

fn finish(
    source: &Source,
    resolved: &Resolved,
    settings: &FetchSettings,
    blobs: PathBuf,
    kept: Option<(LayerCache, InUse, TempDir)>,
) -> Result<Fetched, ImageError> {
    let config = read_document(&resolved.config.digest.path(&blobs))?;
    let platform = config_platform(&checked(source, &resolved.config.digest, config)?);
    if let (Some(wanted), Some(found)) = (&settings.platform, &platform)
        && !found.fits(wanted)
    {
        let why = DocumentError::NoPlatform { wanted: wanted.clone(), have: vec![found.to_string()] };
        return Err(ImageError::Source { what: source.to_string(), why: why.to_string() });
    }
    let origin = Origin {
        source: source.to_string(),
        digest: Some(resolved.digest.clone()),
        index: resolved.index.clone(),
        platform,
        layers: resolved.layers.iter().map(|layer| layer.digest.clone()).collect(),
        imported: now(),
        imported_by: settings.importer.clone(),
    };
    let (cache, in_use, layout) = match kept {
        Some((cache, in_use, layout)) => (Some(cache), Some(in_use), Some(layout)),
        None => (None, None, None),
    };
    let layers = resolved.layers.clone();
    Ok(Fetched { layers, blobs, origin, cache, _in_use: in_use, _layout: layout })
}

pub(in crate::image) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whether a directory is an OCI layout, by the file that has to be there (image-spec, "oci-layout file").
pub(in crate::image) fn is_layout(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join("oci-layout")).is_ok_and(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_what_stands_before_tag_and_digest() {
        for (reference, expected) in [
            ("localhost:5000/a/b:9", "localhost:5000/a/b"),
            ("localhost:5000/a/b@sha256:00", "localhost:5000/a/b"),
            ("debian:12", "debian"),
            ("debian", "debian"),
            ("quay.io/x/y:1@sha256:00", "quay.io/x/y"),
        ] {
            assert_eq!(repository(reference), expected, "{reference}");
        }
    }
}
