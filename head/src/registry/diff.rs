//! What a change of the registry changes: path by path, so that a person can check it before it is saved.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::file::{Entry, NodesFile};

/// One value that appears, disappears or becomes another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `nodes: n1: network devices: default: ipaddr`.
    pub path: String,
    /// The value before; `None` if there was none.
    pub before: Option<String>,
    /// The value after; `None` if there is none.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "~ {}: {before} -> {after}", self.path),
            (Some(before), None) => write!(f, "- {}: {before}", self.path),
            (None, Some(after)) => write!(f, "+ {}: {after}", self.path),
            (None, None) => Ok(()),
        }
    }
}

/// All changes from `before` to `after`, by path. Passwords are not shown.
pub fn diff(before: &NodesFile, after: &NodesFile) -> Vec<Change> {
    let mut changes = vec![];
    for (section, before, after) in
        [("nodeprofiles", &before.nodeprofiles, &after.nodeprofiles), ("nodes", &before.nodes, &after.nodes)]
    {
        // Most of ten thousand entries are the same: these are not taken apart.
        let gone =
            before.iter().filter(|(name, _)| !after.contains_key(*name)).map(|(name, old)| (name, Some(old), None));
        let others = after.iter().map(|(name, new)| (name, before.get(name), Some(new)));
        for (name, old, new) in gone.chain(others).filter(|(_, old, new)| old != new) {
            entry_changes(&format!("{section}: {name}"), old, new, &mut changes);
        }
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

fn entry_changes(place: &str, old: Option<&Entry>, new: Option<&Entry>, changes: &mut Vec<Change>) {
    let values = |entry: Option<&Entry>| entry.map(flatten).unwrap_or_default();
    let (before, after) = (values(old), values(new));
    let path = |path: &str| if path.is_empty() { place.to_owned() } else { format!("{place}: {path}") };
    let changed = before.iter().filter(|(path, value)| after.get(*path) != Some(value));
    changes.extend(changed.map(|(field, value)| change(&path(field), Some(value), after.get(field))));
    let added = after.iter().filter(|(path, _)| !before.contains_key(*path));
    changes.extend(added.map(|(field, value)| change(&path(field), None, Some(value))));
}

fn change(path: &str, before: Option<&String>, after: Option<&String>) -> Change {
    let shown = |value: Option<&String>| {
        value.map(|value| if path.ends_with(": ipmi: password") { "(secret)".to_owned() } else { value.clone() })
    };
    Change { path: path.to_owned(), before: shown(before), after: shown(after) }
}

/// Every value below `value` with its path, nothing that is not set; for people.
pub fn flatten<T: Serialize>(value: &T) -> BTreeMap<String, String> {
    let mut paths = BTreeMap::new();
    if let Ok(value) = serde_json::to_value(value) {
        walk(&value, String::new(), &mut paths);
    }
    paths
}

fn walk(value: &Value, path: String, paths: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}: {key}") };
                walk(value, path, paths);
            }
        }
        Value::String(text) => drop(paths.insert(path, text.clone())),
        Value::Array(items) => {
            let items: Vec<_> =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), Into::into)).collect();
            paths.insert(path, format!("[{}]", items.join(", ")));
        }
        Value::Null => {}
        other => drop(paths.insert(path, other.to_string())),
    }
}
