//! Looks for what can go. Nothing is changed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use wulfpack_shared::id::{ImageName, VersionId};

use crate::config::Paths;
use crate::image::{ImageError, Library};

/// What a writer that was killed left behind; younger than this it may still be written.
const HALF_WRITTEN: Duration = Duration::from_secs(3600);
/// How unfinished files of `write_atomically`, of images and layers, and of overlays begin.
const PREFIXES: [&str; 2] = [".wulf-", ".tmp-"];

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A file or directory whose writer was killed.
    HalfWritten,
    /// The directory of an image that has neither a tree nor a version.
    Leftover,
    /// A version of an image that nobody boots, beyond those that are kept.
    Version,
    /// Layers of container images: they are fetched again where they are needed.
    Layers,
    /// Packed agents of older programs: packed again where they are needed.
    Agents,
}

/// Something that can go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that it takes on disk.
    pub bytes: u64,
    /// Why it can go.
    pub why: String,
    /// The image and its version, where it is one.
    #[serde(skip)]
    pub version: Option<(ImageName, VersionId)>,
}

/// What must stay.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Versions of each image that are kept in any case.
    pub keep: u32,
    /// Versions that run, are pinned, or are chosen for a next boot; nothing where that is not known, and none goes.
    pub held: Option<BTreeSet<VersionId>>,
    /// Whether layers stay.
    pub keep_layers: bool,
}

/// Everything that can go.
///
/// # Errors
/// Images cannot be listed.
pub fn find(paths: &Paths, library: &Library, known: &Known, now: SystemTime) -> Result<Vec<Waste>, ImageError> {
    let mut found = vec![];
    for dir in [&paths.etc, &paths.state, &paths.keys(), &paths.history(), &paths.overlays, &paths.packed_agents()] {
        half_written(dir, now, &mut found);
    }
    for dir in directories(&paths.images()) {
        half_written(&dir, now, &mut found);
        leftover(&dir, library, now, &mut found);
    }
    if let Some(held) = &known.held {
        for image in library.list()? {
            for id in library.prunable(&image.name, known.keep, held)? {
                let path = paths.image(&image.name).join("versions").join(id.to_string());
                let why = format!("no node runs or pins it, and {} newer ones of {} are there", known.keep, image.name);
                found.push(Waste {
                    kind: Kind::Version,
                    bytes: size(&path),
                    path,
                    why,
                    version: Some((image.name.clone(), id)),
                });
            }
        }
    }
    let layers = paths.layers();
    if !known.keep_layers && layers.is_dir() {
        let bytes = size(&layers);
        if bytes > 0 {
            let why = "fetched again where an import needs them".to_owned();
            found.push(Waste { kind: Kind::Layers, path: layers, bytes, why, version: None });
        }
    }
    found.extend(agents(paths));
    found.sort_by(|one, other| (one.kind, &one.path).cmp(&(other.kind, &other.path)));
    found.dedup();
    Ok(found)
}

/// Files of killed writers right in this directory.
fn half_written(dir: &Path, now: SystemTime, found: &mut Vec<Waste>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let overlay = name.starts_with('.') && name.ends_with(".new");
        if !(overlay || PREFIXES.iter().any(|prefix| name.starts_with(prefix))) || !is_old(&entry.path(), now) {
            continue;
        }
        let (path, why) = (entry.path(), "its writer did not end well".to_owned());
        found.push(Waste { kind: Kind::HalfWritten, bytes: size(&path), path, why, version: None });
    }
}

fn is_old(path: &Path, now: SystemTime) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|data| data.modified());
    changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age >= HALF_WRITTEN))
}

/// A directory of an image in which nothing is left but its lock and notes.
fn leftover(dir: &Path, library: &Library, now: SystemTime, found: &mut Vec<Waste>) {
    let name = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<ImageName>().ok());
    let Some(name) = name.filter(|name| !library.contains(name)) else { return };
    let only = ["lock", "origin.json", "scan.zst", "last.json", "versions"];
    let entries: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let known = |path: &PathBuf| {
        let named = path.file_name().is_some_and(|name| only.iter().any(|known| name == *known));
        named && (path.is_file() || empty(path))
    };
    if entries.iter().all(known) && is_old(dir, now) {
        let why = format!("the image {name} has neither a tree nor a version");
        found.push(Waste { kind: Kind::Leftover, bytes: size(dir), path: dir.to_owned(), why, version: None });
    }
}

/// Packed agents but for the newest of each format.
fn agents(paths: &Paths) -> Vec<Waste> {
    let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(paths.packed_agents())
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let mut newest = BTreeSet::new();
    let mut old = vec![];
    for (_, path) in files.into_iter().rev() {
        if !newest.insert(path.extension().map(ToOwned::to_owned)) {
            let why = "a newer agent is packed".to_owned();
            old.push(Waste { kind: Kind::Agents, bytes: size(&path), path, why, version: None });
        }
    }
    old
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Bytes on disk of a file, or of all in a directory.
fn size(path: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(path).same_file_system(true).into_iter().flatten();
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files.filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
}
