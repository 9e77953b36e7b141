//! `nodes.conf` as it is, and the forms that older versions of Warewulf wrote.

use serde_json::{Map, Value};

use crate::config::yaml;
use crate::registry::NodesFile;

/// Keys that had another name: before 4.6, and before 4.5.
const RENAMED: [(&str, &str); 4] = [
    ("container name", "image name"),
    ("ip6addr", "ipaddr6"),
    ("system overlays", "system overlay"),
    ("runtime overlays", "runtime overlay"),
];
/// Keys of older versions that have no place any more.
const DROPPED: [(&str, &str); 5] = [
    ("WW_INTERNAL", "the form of the file has no number"),
    ("kernel override", "the kernel is the image's; `kernel: version` chooses among those that it has"),
    ("gateway of last resort", "it was never used"),
    ("default", "whether a network is the primary one is `primary network` of the node"),
    ("primary", "it is `primary network` of the node"),
];
/// Overlays whose work is the agent's or the head's own here.
const BUILT_IN: [&str; 4] = ["wwinit", "wwclient", "generic", "host"];

type Remarks = Vec<(Option<usize>, String)>;

/// Reads a `nodes.conf` of any version from 4.3 on. What had to be changed is told, with its line. `there` tells which overlays
/// a head has.
///
/// # Errors
/// It is no YAML, or has keys that no version knew; the error names the line.
pub fn upgrade_nodes(text: &str, there: &dyn Fn(&str) -> bool) -> Result<(NodesFile, Remarks), String> {
    let mut remarks = vec![];
    let mut file = match yaml::parse::<NodesFile>(text) {
        Ok(file) => file,
        Err(error) => {
            let mut value: Value = yaml::parse(text)?;
            upgrade(&mut value, "", text, &mut remarks);
            if remarks.is_empty() {
                return Err(error);
            }
            serde_json::from_value(value).map_err(|error| error.to_string())?
        }
    };
    let entries = file.nodeprofiles.iter_mut().chain(file.nodes.iter_mut());
    for (name, entry) in entries {
        for list in [&mut entry.system_overlays, &mut entry.runtime_overlays] {
            list.0.retain(|overlay| {
                let built_in = BUILT_IN.contains(&overlay.as_str().trim_start_matches('~'));
                if built_in {
                    let what = format!("{name}: overlay {overlay}: the agent and the head do its work; it is left out");
                    remarks.push((line_of(overlay.line()), what));
                }
                !built_in
            });
            for overlay in &list.0 {
                let plain = overlay.as_str().trim_start_matches('~');
                if !there(plain) {
                    let what = format!("{name}: there is no overlay {plain} here yet; make it, or take it out");
                    remarks.push((line_of(overlay.line()), what));
                }
            }
        }
    }
    Ok((file, remarks))
}

fn line_of(line: u64) -> Option<usize> {
    usize::try_from(line).ok().filter(|line| *line > 0)
}

fn upgrade(value: &mut Value, place: &str, text: &str, remarks: &mut Remarks) {
    let line = |key: &str| {
        let begins = |line: &str| line.trim_start().trim_start_matches("- ").starts_with(&format!("{key}:"));
        text.lines().position(begins).map(|line| line + 1)
    };
    let Value::Object(map) = value else { return };
    // Tags, resources and the like hold whatever a site wants.
    if ["tags", "resources", "keys"].iter().any(|free| place.ends_with(free)) && !place.is_empty() {
        return;
    }
    let old = std::mem::take(map);
    let mut new = Map::new();
    let depth = place.split(": ").filter(|step| !step.is_empty()).count();
    for (key, mut value) in old {
        let names = matches!(depth, 1) || place.ends_with("network devices");
        if !names && let Some((_, why)) = DROPPED.iter().find(|(dropped, _)| *dropped == key) {
            remarks.push((line(&key), format!("{place}: {key}: {why}; it is left out")));
            continue;
        }
        let renamed = RENAMED.iter().find(|(old, _)| *old == key && !names);
        let key_now = renamed.map_or(key.as_str(), |(_, now)| now).to_owned();
        if renamed.is_some() {
            remarks.push((line(&key), format!("{place}: {key} is called {key_now}")));
        }
        let (key_now, moved) = match (key_now.as_str(), value) {
            // Before 4.5 arguments were one text, and overlays a text with commas.
            ("args", Value::String(args)) => ("args".into(), words(&args, char::is_whitespace)),
            (list @ ("system overlay" | "runtime overlay"), Value::String(names)) => {
                (list.into(), words(&names, |c| c == ','))
            }
            ("keys", keys) => {
                remarks.push((line("keys"), format!("{place}: keys are called tags")));
                ("tags".into(), keys)
            }
            (_, other) => {
                value = other;
                let deeper = if place.is_empty() { key_now.clone() } else { format!("{place}: {key_now}") };
                upgrade(&mut value, &deeper, text, remarks);
                (key_now, value)
            }
        };
        new.insert(key_now, moved);
    }
    *map = new;
}

fn words(text: &str, separates: impl Fn(char) -> bool) -> Value {
    text.split(separates).map(str::trim).filter(|word| !word.is_empty()).map(Value::from).collect()
}
