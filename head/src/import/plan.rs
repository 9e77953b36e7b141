//! What an import would do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::nodes::upgrade_nodes;
use super::overlays::read_overlay;
use super::server::{Places, read_server};
use super::settings::{Settings, rewrite};
use crate::config::Config;
use crate::registry::NodesFile;

/// Why nothing can be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no Warewulf.
    #[error("{dir} has neither warewulf.conf nor etc/warewulf/warewulf.conf", dir = .0.display())]
    NotWarewulf(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file makes no sense.
    #[error("{path}: {what}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        what: String,
    },
}

/// Something that a person has to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remark {
    /// Where it stands.
    pub file: PathBuf,
    /// Its line, if known.
    pub line: Option<usize>,
    /// What is not taken over as it is, and why.
    pub what: String,
}

/// A file of an overlay as it will be.
#[derive(Clone, Debug, Serialize)]
pub struct ImportedFile {
    /// Where it comes from.
    pub from: PathBuf,
    /// Its path below the overlay's `rootfs`.
    pub to: PathBuf,
    /// Its translated text; `None` is a copy, with owner and mode.
    #[serde(skip)]
    pub text: Option<String>,
}

/// A site overlay.
#[derive(Clone, Debug, Serialize)]
pub struct ImportedOverlay {
    /// Its name.
    pub name: String,
    /// Its files and links; directories come with them.
    pub files: Vec<ImportedFile>,
}

/// An image.
#[derive(Clone, Debug, Serialize)]
pub struct ImportedImage {
    /// Its name.
    pub name: String,
    /// Its tree.
    pub rootfs: PathBuf,
}

/// All that would be done.
#[derive(Debug, Default, Serialize)]
pub struct Plan {
    /// What goes into `wulfpack.yaml`.
    pub settings: Settings,
    /// Nodes and profiles.
    pub nodes: NodesFile,
    /// Images.
    pub images: Vec<ImportedImage>,
    /// Overlays.
    pub overlays: Vec<ImportedOverlay>,
    /// What a person has to look at.
    pub remarks: Vec<Remark>,
}

impl Plan {
    /// Reads a Warewulf head: its root directory, or `/etc/warewulf`. `shipped` tells overlays that are built in here.
    pub fn read(dir: &Path, shipped: &dyn Fn(&str) -> bool) -> Result<Self, ImportError> {
        let mut plan = Self::default();
        let places = Places::find(dir)?;
        let places = read_server(places, &mut plan)?;
        let path = places.etc.join("nodes.conf");
        let text = read(&path)?;
        let (nodes, remarks) =
            upgrade_nodes(&text, shipped).map_err(|what| ImportError::Invalid { path: path.clone(), what })?;
        plan.nodes = nodes;
        plan.remarks.extend(remarks.into_iter().map(|(line, what)| Remark { file: path.clone(), line, what }));
        for name in directories(&places.images)? {
            let rootfs = places.images.join(&name).join("rootfs");
            if rootfs.is_dir() {
                plan.images.push(ImportedImage { name, rootfs });
            }
        }
        for name in directories(&places.overlays)? {
            let overlay = read_overlay(&places.overlays.join(&name), name, &mut plan.remarks)?;
            plan.overlays.push(overlay);
        }
        plan.remarks.sort();
        plan.remarks.dedup();
        Ok(plan)
    }
}

impl Plan {
    /// The configuration file with the settings of the other head in it: its text, and what a person has to look at. The text is
    /// missing where it cannot be written without touching what somebody wrote; then the settings are told.
    pub fn configuration(
        &self,
        text: &str,
        config: &Config,
        interface_of: &dyn Fn(std::net::IpAddr) -> Option<String>,
    ) -> (Option<String>, Vec<String>) {
        let (new, mut kept) = self.settings.apply(config, interface_of);
        let written = rewrite(text, config, &new);
        if written.is_none() {
            kept.push("wulfpack.yaml has settings of its own where these belong: put them in by hand".into());
        }
        (written, kept)
    }
}

pub(super) fn read(path: &Path) -> Result<String, ImportError> {
    fs::read_to_string(path).map_err(|source| ImportError::Read { path: path.into(), source })
}

/// Names of the directories in one; none where it is missing.
fn directories(dir: &Path) -> Result<Vec<String>, ImportError> {
    let failed = |source| ImportError::Read { path: dir.into(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        other => other.map_err(failed)?,
    };
    let mut names = vec![];
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}
