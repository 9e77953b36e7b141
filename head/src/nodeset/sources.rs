//! The groups that the registry knows: nodes that have an attribute in common.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::glob;
use super::groups::{GroupError, Groups};
use super::set::NodeSet;
use crate::config::yaml;
use crate::registry::{Node, Registry, Snapshot};
use wulfpack_shared::wire::RootMode;

/// Where groups come from, and what their names are. `@NAME` without a source is `@group:NAME` where there is one, else
/// `@profile:NAME`.
pub const SOURCES: [(&str, &str); 12] = [
    ("group", "a group, NAME in `groups` of the node or of a profile"),
    ("profile", "a profile, its own or one that it has through another"),
    ("image", "an image, NAME or NAME@ID"),
    ("rack", "a rack"),
    ("tag", "a tag, KEY or KEY=VALUE"),
    ("cluster", "a cluster name"),
    ("overlay", "an overlay, system or runtime"),
    ("kernel", "a kernel version"),
    ("root", "a root mode"),
    ("net", "a network"),
    ("ipxe", "a boot script template"),
    ("discoverable", "true or false: whether an unknown machine may become it"),
];

/// The groups of a source that a node is in.
fn values(source: &str, node: &Node) -> Vec<String> {
    let text = |value: &Option<String>| value.iter().cloned().collect();
    match source {
        "profile" => node.profiles.clone(),
        "image" => node.image.iter().flat_map(|image| [image.name.to_string(), image.to_string()]).collect(),
        "rack" => node.rack.iter().map(ToString::to_string).collect(),
        "tag" => node.tags.iter().flat_map(|(key, value)| [key.clone(), format!("{key}={value}")]).collect(),
        "cluster" => text(&node.cluster),
        "overlay" => node.system_overlays.iter().chain(&node.runtime_overlays).map(ToString::to_string).collect(),
        "kernel" => text(&node.kernel_version),
        "root" => vec![if node.root == RootMode::Tmpfs { "tmpfs" } else { "overlay" }.into()],
        "group" => node.groups.clone(),
        "ipxe" => vec![node.ipxe.clone().unwrap_or_else(|| "default".into())],
        "discoverable" => vec![node.discoverable.to_string()],
        "net" => node.interfaces.iter().map(|interface| interface.net.clone()).collect(),
        _ => vec![],
    }
}

/// Groups of a registry.
#[derive(Clone, Debug)]
pub struct RegistryGroups {
    snapshot: Arc<Snapshot>,
    /// All of them, those that no node has too.
    profiles: BTreeSet<String>,
    all: OnceCell<NodeSet>,
    /// The groups of each source with their nodes, once they were asked for.
    known: [OnceCell<BTreeMap<String, NodeSet>>; SOURCES.len()],
}

impl RegistryGroups {
    /// Those of this registry.
    pub fn new(registry: &Registry) -> Self {
        let profiles = registry.file().nodeprofiles.keys().cloned().collect();
        Self { snapshot: registry.resolve(), profiles, all: OnceCell::new(), known: Default::default() }
    }

    fn known(&self, source: &str) -> Result<&BTreeMap<String, NodeSet>, GroupError> {
        let cell = SOURCES.iter().zip(&self.known).find(|((name, _), _)| *name == source).map(|(_, cell)| cell);
        let Some(cell) = cell else {
            let known: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
            let what = format!("there are no groups by {source:?}");
            return Err(GroupError::NoSource(yaml::unknown(&what, source, &known)));
        };
        Ok(cell.get_or_init(|| {
            let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            if source == "profile" {
                names.extend(self.profiles.iter().map(|profile| (profile.clone(), vec![])));
            }
            for node in self.snapshot.nodes() {
                for value in values(source, node) {
                    names.entry(value).or_default().push(node.name.as_str());
                }
            }
            names.into_iter().map(|(group, names)| (group, names.into_iter().collect())).collect()
        }))
    }
}

impl Groups for RegistryGroups {
    fn all(&self) -> Result<NodeSet, GroupError> {
        let all = || self.snapshot.nodes().map(|node| node.name.as_str()).collect();
        Ok(self.all.get_or_init(all).clone())
    }

    fn members(&self, source: Option<&str>, group: &str) -> Result<NodeSet, GroupError> {
        if source.is_none() && group == "all" && !self.profiles.contains(group) {
            return self.all();
        }
        let is_group = |known: &BTreeMap<String, NodeSet>| match glob::is_pattern(group) {
            true => known.keys().any(|name| glob::matches(group, name)),
            false => known.contains_key(group),
        };
        let source = match source {
            None if is_group(self.known("group")?) => "group",
            source => source.unwrap_or("profile"),
        };
        let known = self.known(source)?;
        if let Some(nodes) = known.get(group) {
            return Ok(nodes.clone());
        }
        if !glob::is_pattern(group) {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            let near = yaml::nearest(group, &known).map(|near| format!("; did you mean @{source}:{near}?"));
            let what = format!("no node has {source} {group:?}{}", near.unwrap_or_default());
            return Err(GroupError::NoGroup(what));
        }
        let mut found = NodeSet::default();
        for (_, nodes) in known.iter().filter(|(name, _)| glob::matches(group, name)) {
            found.union(nodes);
        }
        Ok(found)
    }
}
