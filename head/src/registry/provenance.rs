//! Where each value of a node comes from: the profile or the node itself that said it, and what it stands in front of.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::file::{Entry, NodesFile};
use super::merge::{expand_profiles, is_unset, merge_node};
use super::scalar::List;

/// One value of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// `network devices: default: ipaddr`.
    pub field: String,
    /// What is in force.
    pub value: String,
    /// The profiles that say it, or the node's own name; a list may come from several.
    pub sources: Vec<String>,
    /// What others said before, and was overruled: source and value.
    pub superseded: Vec<(String, String)>,
}

/// All values of a node, by field. Passwords are not shown.
pub fn origins(file: &NodesFile, name: &str, node: &Entry) -> Vec<Origin> {
    let (merged, profiles) = merge_node(file, node);
    let mut layers: Vec<(String, BTreeMap<String, Value>)> = profiles
        .iter()
        .filter_map(|profile| {
            let entry = Entry { comment: None, profiles: List::default(), ..file.nodeprofiles.get(profile)?.clone() };
            Some((profile.clone(), leaves(&entry)))
        })
        .collect();
    layers.push((name.to_owned(), leaves(node)));
    let mut origins: Vec<Origin> =
        leaves(&merged).into_iter().map(|(field, value)| origin(&layers, field, &value)).collect();
    origins.retain(|origin| !origin.value.is_empty());
    origins
}

/// The same of a profile, as if a node had it and nothing else.
pub fn profile_origins(file: &NodesFile, name: &str, profile: &Entry) -> Vec<Origin> {
    debug_assert!(expand_profiles(file, &profile.profiles).len() <= file.nodeprofiles.len(), "each profile comes once");
    origins(file, name, profile)
}

fn origin(layers: &[(String, BTreeMap<String, Value>)], field: String, value: &Value) -> Origin {
    let said: Vec<(&String, &Value)> = layers
        .iter()
        .filter_map(|(source, leaves)| Some((source, leaves.get(&field)?)))
        .filter(|(_, value)| !value.as_str().is_some_and(is_unset))
        .collect();
    let shown = |value: &Value| if field == "ipmi: password" { "(secret)".to_owned() } else { text(value) };
    let (mut sources, mut superseded) = (vec![], vec![]);
    if let Value::Array(items) = value {
        // A list is what all of them said, without what one of them took out.
        for (source, theirs) in &said {
            let adds = theirs.as_array().is_some_and(|theirs| theirs.iter().any(|item| items.contains(item)));
            let removes = theirs.as_array().is_some_and(|theirs| theirs.iter().any(is_negation));
            if adds || removes || theirs == &value {
                sources.push((*source).clone());
            }
        }
    } else if let Some(((last, _), before)) = said.split_last() {
        sources.push((*last).clone());
        superseded = before.iter().map(|(source, value)| ((*source).clone(), shown(value))).collect();
    }
    Origin { value: shown(value), sources, superseded, field }
}

fn is_negation(item: &Value) -> bool {
    item.as_str().is_some_and(|text| text.starts_with('~'))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), Into::into)).collect();
            items.join(",")
        }
        other => other.to_string(),
    }
}

/// Every value that is no map, with its path.
fn leaves(entry: &Entry) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    if let Ok(value) = serde_json::to_value(entry) {
        walk(value, String::new(), &mut leaves);
    }
    leaves
}

fn walk(value: Value, path: String, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key } else { format!("{path}: {key}") };
                walk(value, path, leaves);
            }
        }
        Value::Null => {}
        leaf => drop(leaves.insert(path, leaf)),
    }
}
