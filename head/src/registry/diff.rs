//! What a change of the registry changes: path by path, so that a person can check it before it is saved.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::file::NodesFile;

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
    let (before, after) = (flatten(before), flatten(after));
    let mut changes: Vec<_> = before
        .iter()
        .filter(|(path, value)| after.get(*path) != Some(value))
        .map(|(path, value)| change(path, Some(value), after.get(path)))
        .collect();
    changes.extend(
        after
            .iter()
            .filter(|(path, _)| !before.contains_key(*path))
            .map(|(path, value)| change(path, None, Some(value))),
    );
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
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
