//! `overlay.yaml`: what the directory itself cannot say.

use std::collections::BTreeMap;

use serde::Deserialize;
use wulfpack_shared::overlay::{Context, Reload};

use super::attributes::octal;
use crate::config::yaml;

/// Settings of one overlay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rules {
    /// By path below `rootfs`, without the suffix of templates.
    pub(super) paths: BTreeMap<String, PathRule>,
    /// Paths that are removed on the node.
    pub(super) absent: Vec<String>,
    /// What a running system does when a runtime overlay has changed.
    #[serde(deserialize_with = "reloads")]
    pub(super) reload: Vec<Reload>,
}

/// One of `reload`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadRule {
    #[serde(default)]
    paths: Vec<String>,
    units: Vec<String>,
    #[serde(default)]
    restart: bool,
}

fn reloads<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Reload>, D::Error> {
    let rules = Vec::<ReloadRule>::deserialize(deserializer)?;
    Ok(rules.into_iter().map(|ReloadRule { paths, units, restart }| Reload { paths, units, restart }).collect())
}

/// Settings of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PathRule {
    /// Permissions in octal; otherwise those of the source file.
    mode: Option<String>,
    /// Owner, as a number: names could differ on the node. Otherwise that of the source file.
    pub(super) uid: Option<u32>,
    /// Group, as a number; otherwise that of the source file.
    pub(super) gid: Option<u32>,
    /// Never logged, never shown without being asked for.
    pub(super) secret: bool,
    /// When it is applied; otherwise with the overlay.
    pub(super) context: Option<Context>,
}

impl PathRule {
    pub(super) fn mode(&self) -> Option<u32> {
        self.mode.as_deref().and_then(octal)
    }
}

/// Reads and checks `overlay.yaml`.
pub(super) fn parse(text: &str) -> Result<Rules, String> {
    let rules: Rules = yaml::parse(text)?;
    for (path, rule) in &rules.paths {
        if rule.mode.is_some() && rule.mode().is_none() {
            return Err(format!("paths: {path}: mode is not an octal number up to 7777; write mode: \"0644\""));
        }
    }
    for path in &rules.absent {
        if !wulfpack_shared::overlay::is_clean(path) {
            return Err(format!("absent: {path:?} is not a path relative to the root without '..'"));
        }
    }
    for unit in rules.reload.iter().flat_map(|reload| &reload.units) {
        // A dash at the beginning would be an option of systemctl.
        let word = |c: char| c.is_ascii_alphanumeric() || "@.:_-\\".contains(c);
        if unit.starts_with('-') || unit.is_empty() || !unit.chars().all(word) {
            return Err(format!("reload: {unit:?} is no name of a systemd unit"));
        }
    }
    Ok(rules)
}
