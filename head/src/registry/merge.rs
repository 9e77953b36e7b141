//! Warewulf's merge rules: profiles depth-first, then the node; of scalars the last wins, maps merge, lists append.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::file::{Entry, Map, NodesFile};
use super::scalar::{List, Text};

/// What can stand in the file, and be merged: a later source changes an earlier one.
pub(super) trait Field: Sized + Default + for<'de> Deserialize<'de> {
    /// Reads it; a key without a value (`tags:`) is the same as no key.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
    /// Merges what stands further right, and so wins.
    fn merge(&mut self, later: &Self);
    /// Whether it says nothing.
    fn is_empty(&self) -> bool;
}

impl Field for Option<Text> {
    fn merge(&mut self, later: &Self) {
        if let Some(text) = later.as_ref().filter(|text| !is_unset(text.as_str())) {
            *self = Some(text.clone());
        }
    }
    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

/// Warewulf's third state of booleans, and empty texts, say nothing.
pub(super) fn is_unset(text: &str) -> bool {
    matches!(text, "" | "UNDEF" | "UNSET")
}

impl Field for List {
    fn merge(&mut self, later: &Self) {
        self.0.extend_from_slice(&later.0);
    }
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Field for Text {
    fn merge(&mut self, later: &Self) {
        *self = later.clone();
    }
    fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl Field for Value {
    fn merge(&mut self, later: &Self) {
        match (self, later) {
            (Self::Object(mine), Self::Object(later)) => {
                for (key, value) in later {
                    match mine.get_mut(key) {
                        Some(old) => old.merge(value),
                        None => drop(mine.insert(key.clone(), value.clone())),
                    }
                }
            }
            (Self::Array(mine), Self::Array(later)) => mine.extend_from_slice(later),
            (_, Self::Null) => {}
            (mine, later) => *mine = later.clone(),
        }
    }
    fn is_empty(&self) -> bool {
        self.is_null()
    }
}

/// A value of a map, read by [`Field::read`].
struct Nullable<V>(V);

impl<'de, V: Field> Deserialize<'de> for Nullable<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        V::read(deserializer).map(Self)
    }
}

impl<V: Field + Clone> Field for Map<V> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Option::<Map<Nullable<V>>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(map.into_iter().map(|(key, value)| (key, value.0)).collect())
    }
    fn merge(&mut self, later: &Self) {
        for (key, value) in later {
            match self.get_mut(key) {
                Some(old) => old.merge(value),
                None => drop(self.insert(key.clone(), value.clone())),
            }
        }
    }
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// The profiles behind this list in the order in which they are merged: nested ones before the one that names them, each
/// once (which also breaks cycles), without those that a `~name` anywhere takes out.
pub(super) fn expand_profiles(file: &NodesFile, list: &List) -> Vec<String> {
    let mut expanded = vec![];
    expand_into(file, list, &mut BTreeSet::new(), &mut expanded);
    without_negated(expanded, String::as_str)
}

fn expand_into(file: &NodesFile, list: &List, visited: &mut BTreeSet<String>, expanded: &mut Vec<String>) {
    for name in list.0.iter().map(Text::as_str) {
        if name.starts_with('~') {
            expanded.push(name.to_owned());
        } else if visited.insert(name.to_owned()) {
            if let Some(profile) = file.nodeprofiles.get(name) {
                expand_into(file, &profile.profiles, visited, expanded);
            }
            expanded.push(name.to_owned());
        }
    }
}

/// Without every `~item` and every `item` that one of them names.
fn without_negated<T>(items: Vec<T>, text: impl Fn(&T) -> &str) -> Vec<T> {
    let negated: BTreeSet<String> =
        items.iter().filter_map(|item| Some(text(item).strip_prefix('~')?.to_owned())).collect();
    items.into_iter().filter(|item| !text(item).starts_with('~') && !negated.contains(text(item))).collect()
}

/// The node with all its profiles merged in, and their names.
pub(super) fn merge_node(file: &NodesFile, node: &Entry) -> (Entry, Vec<String>) {
    let profiles = expand_profiles(file, &node.profiles);
    let mut merged = Entry::default();
    for profile in profiles.iter().filter_map(|name| file.nodeprofiles.get(name)) {
        merged.merge(profile);
    }
    // Neither is inherited.
    merged.comment = None;
    merged.profiles = List::default();
    merged.merge(node);
    let lists =
        [&mut merged.system_overlays, &mut merged.runtime_overlays, &mut merged.kernel.args, &mut merged.groups];
    for list in lists {
        *list = List(without_negated(std::mem::take(&mut list.0), Text::as_str));
    }
    (merged, profiles)
}
