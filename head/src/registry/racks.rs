//! Which rack a node is in where its entry does not say it (REAL-CLUSTERS, rule 38), and what is wrong with racks.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;
use wulfpack_shared::id::{NodeName, RackName};

use super::resolved::Snapshot;
use crate::config::RacksConfig;
use crate::nodeset::NodeSet;

/// Where a rack is read from: a tag of the node, else its name.
#[derive(Clone, Debug, Default)]
pub struct RackRule {
    tag: Option<String>,
    pattern: Option<Regex>,
}

impl RackRule {
    /// As the configuration says. A pattern that is none was refused when it was read.
    pub fn of(config: &RacksConfig) -> Self {
        let tag = (!config.tag.is_empty()).then(|| config.tag.clone());
        Self { tag, pattern: config.regex().ok().flatten() }
    }

    /// The rack of a node with this name and these tags.
    pub fn find(&self, name: &NodeName, tags: &BTreeMap<String, String>) -> Option<RackName> {
        let tagged = self.tag.as_ref().and_then(|tag| tags.get(tag)?.parse().ok());
        tagged.or_else(|| self.pattern.as_ref()?.captures(name.as_str())?.get(1)?.as_str().parse().ok())
    }
}

/// What an administrator should know of the racks, who is in none and what keeps their uplinks from being spared, each with what to
/// do about it.
pub fn check_racks(config: &RacksConfig, snapshot: &Snapshot) -> Vec<(String, &'static str)> {
    let racks: BTreeSet<&RackName> = snapshot.nodes().filter_map(|node| node.rack.as_ref()).collect();
    let homeless: NodeSet = snapshot.nodes().filter(|node| node.rack.is_none()).map(|node| &node.name).collect();
    let (caps, count) = (config.caps(), snapshot.nodes().filter(|node| node.rack.is_none()).count());
    let mut found = vec![];
    if count > 0 && (!racks.is_empty() || !caps.is_empty()) {
        found.push((
            format!("{count} nodes are in no rack that is known ({homeless:.200}): nothing spares the uplinks that they are behind"),
            "wulf node set NODESET --rack NAME, or `racks: tag` or `racks: pattern` in wulfpack.yaml",
        ));
    }
    if racks.len() > 1 && caps.is_empty() {
        found.push((
            format!("there are {} racks, and nothing says how narrow the way into one is", racks.len()),
            "`racks: uplink` and `racks: nic` in wulfpack.yaml",
        ));
    }
    let unknown: Vec<&str> = config
        .uplinks
        .keys()
        .map(String::as_str)
        .filter(|name| !racks.iter().any(|rack| rack.as_str() == *name))
        .collect();
    if !unknown.is_empty() {
        let what = format!("`racks: uplinks` names racks in which no node is: {}", unknown.join(", "));
        found.push((what, "mend `racks: uplinks` in wulfpack.yaml"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Defaults, Registry};

    const NODES: &str = "nodes:\n  r1n1:\n  r1n2:\n    rack: own\n  r2n1:\n    tags: {row: tagged}\n  login:\n";

    fn racks(config: &RacksConfig) -> (Vec<String>, Vec<(String, &'static str)>) {
        let defaults = Defaults { racks: RackRule::of(config), ..Defaults::default() };
        let snapshot = Registry::parse(NODES, defaults).unwrap().resolve();
        let racks = snapshot.nodes().map(|node| node.rack.as_ref().map_or("-".to_owned(), ToString::to_string));
        (racks.collect(), check_racks(config, &snapshot))
    }

    #[test]
    fn an_entry_goes_before_a_tag_and_a_tag_before_the_name() {
        let config = RacksConfig { tag: "row".into(), pattern: "^(r[0-9]+)n".into(), ..RacksConfig::default() };
        assert_eq!(racks(&config).0, ["-", "r1", "own", "tagged"]);
        assert_eq!(racks(&RacksConfig::default()).0, ["-", "-", "own", "-"]);
    }

    #[test]
    fn nodes_without_a_rack_and_racks_without_an_uplink_are_told() {
        let mut config = RacksConfig { pattern: "^(r[0-9]+)n".into(), ..RacksConfig::default() };
        let told = racks(&config).1;
        assert!(told[0].0.contains("1 nodes") && told[0].0.contains("login"), "{told:?}");
        assert!(told[1].0.contains("3 racks") && told[1].1.contains("uplink"), "{told:?}");
        (config.uplink, config.nic) = ("40gbit".parse().unwrap(), "10gbit".parse().unwrap());
        config.uplinks.insert("r9".into(), "10gbit".parse().unwrap());
        let told = racks(&config).1;
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].0.contains("r9"), "{told:?}");
    }
}
