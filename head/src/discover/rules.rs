//! Which machine becomes which node by itself: the administrator's rules, then nodes that are `discoverable`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use wulfpack_shared::id::{Mac, NodeName};

use super::matching;
use crate::config::{AdoptRule, DiscoverConfig};
use crate::nodeset::{NoGroups, NodeSet, Resolver};
use crate::registry::{Node, Snapshot};
use crate::store::PendingMachine;

/// Most lines of a list of serial numbers.
const LINES_MAX: usize = 100_000;

/// Lists of serial numbers, by file: what the machine says, in lower case, to the node; or why a file cannot be used.
pub type Lists = BTreeMap<PathBuf, Result<BTreeMap<String, NodeName>, String>>;

/// What becomes of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suggestion {
    /// It becomes this node.
    Node {
        /// The node.
        node: NodeName,
        /// By which rule, for the record.
        how: String,
    },
    /// A rule is about its switch, which has not spoken yet.
    NotYet,
    /// No rule names a node for it; why, for a person.
    None(String),
}

/// The administrator's word on machines that no registry knows.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<(AdoptRule, Vec<NodeName>)>,
}

impl Rules {
    /// Those of the configuration, which was checked.
    pub fn new(config: &DiscoverConfig) -> Self {
        let names = |rule: &AdoptRule| {
            let nodes = rule.nodes.iter().cloned().collect::<Vec<_>>();
            let names = Resolver::new(&NoGroups).in_order(&nodes).unwrap_or_default();
            names.iter().filter_map(|name| name.parse().ok()).collect()
        };
        Self { rules: config.rules.iter().map(|rule| (rule.clone(), names(rule))).collect() }
    }

    /// The files that the rules refer to.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.rules.iter().filter_map(|(rule, _)| rule.list.clone()).collect()
    }

    /// Which node a machine becomes. `nodes` has those that machines have become already.
    pub fn suggest(&self, machine: &PendingMachine, nodes: &Snapshot, lists: &Lists) -> Suggestion {
        // A known node is not discovered because it booted from another card.
        let owner = |mac| nodes.by_mac(mac).map(|node| (mac, &node.name));
        if let Some((mac, node)) = machine.inventory.nics.iter().find_map(|nic| owner(nic.mac)) {
            return Suggestion::None(format!("its interface {mac} is one of node {node}"));
        }
        let mut against = vec![];
        for (index, (rule, names)) in self.rules.iter().enumerate() {
            let place = format!("rule {}", index + 1);
            if rule.wants_switch() && !machine.complete && matching::switch(machine).is_none() {
                return Suggestion::NotYet;
            }
            if !matching::fits(&rule.when, machine) {
                continue;
            }
            match self.by_rule(rule, names, machine, nodes, lists) {
                Ok(node) => return Suggestion::Node { node, how: place },
                Err(why) => against.push(format!("{place}: {why}")),
            }
        }
        if let Some(node) = discoverable(machine, nodes) {
            return Suggestion::Node { node, how: "discoverable".into() };
        }
        Suggestion::None(against.join("; "))
    }

    fn by_rule(
        &self,
        rule: &AdoptRule,
        names: &[NodeName],
        machine: &PendingMachine,
        nodes: &Snapshot,
        lists: &Lists,
    ) -> Result<NodeName, String> {
        if !names.is_empty() {
            let free = names.iter().find(|name| free(name, machine, nodes).is_ok());
            return free.cloned().ok_or_else(|| {
                format!("none of {} is a node without a machine", rule.nodes.as_deref().unwrap_or_default())
            });
        }
        let name = match (&rule.node, &rule.list) {
            (Some(template), _) => fill(template, machine)?,
            (None, Some(file)) => {
                let list = lists.get(file).ok_or("its list was not read")?.as_ref().map_err(Clone::clone)?;
                let keys = matching::names_of(machine);
                let found = keys.iter().find_map(|key| list.get(key));
                found.cloned().ok_or_else(|| format!("{} does not have it", file.display()))?
            }
            (None, None) => {
                let switch = matching::switch(machine).ok_or("it knows no switch")?;
                let named = [&switch.port, &switch.description].into_iter().find_map(|port| rule.ports.get(port));
                named.cloned().ok_or_else(|| format!("port {} stands for no node", switch.port))?
            }
        };
        free(&name, machine, nodes).map(|()| name)
    }
}

/// Whether a machine may become this node.
fn free(name: &NodeName, machine: &PendingMachine, nodes: &Snapshot) -> Result<(), String> {
    let node = nodes.node(name).ok_or_else(|| format!("there is no node {name} in the registry"))?;
    if node.vacancy().is_none() {
        return Err(format!("node {name} has a machine"));
    }
    asset_fits(node, machine)
}

/// A node with an asset key takes only the machine that shows it.
fn asset_fits(node: &Node, machine: &PendingMachine) -> Result<(), String> {
    match &node.asset_key {
        Some(key) if *key != machine.inventory.system.asset => {
            Err(format!("node {} wants another asset tag than this machine has", node.name))
        }
        _ => Ok(()),
    }
}

/// The first node that is there to be found, as in Warewulf: by cluster, then by name.
fn discoverable(machine: &PendingMachine, nodes: &Snapshot) -> Option<NodeName> {
    let fits = |node: &&Arc<Node>| node.discoverable && node.vacancy().is_some() && asset_fits(node, machine).is_ok();
    let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes.nodes().filter(fits) {
        clusters.entry(node.cluster.as_deref().unwrap_or_default()).or_default().push(node.name.as_str());
    }
    let first = clusters.into_values().next()?;
    first.into_iter().collect::<NodeSet>().iter().next()?.parse().ok()
}

/// A name with what the machine says in its places.
fn fill(template: &str, machine: &PendingMachine) -> Result<NodeName, String> {
    let mut name = template.to_owned();
    let port = matching::switch(machine).and_then(|switch| matching::port_number(&switch.port));
    let system = &machine.inventory.system;
    for (place, value) in [
        ("{port}", port.unwrap_or_default()),
        ("{serial}", system.serial.to_lowercase()),
        ("{asset}", system.asset.to_lowercase()),
        ("{mac}", machine.mac.dashed()),
    ] {
        if name.contains(place) && value.is_empty() {
            return Err(format!("the machine says nothing for {place}"));
        }
        name = name.replace(place, &value);
    }
    name.parse().map_err(|error| format!("{error}"))
}

/// Reads a list: a line `SERIAL NODE` or `SERIAL,NODE` for each machine, `#` begins a comment.
///
/// # Errors
/// A line that is none, or a second one for the same machine or node; its number is named.
pub fn parse_list(text: &str) -> Result<BTreeMap<String, NodeName>, String> {
    let (mut list, mut taken) = (BTreeMap::new(), BTreeSet::new());
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if number > LINES_MAX {
            return Err(format!("it has more than {LINES_MAX} lines"));
        }
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let mut fields = line.split([',', ' ', '\t']).filter(|field| !field.is_empty());
        let (Some(serial), Some(node), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(format!("line {number}: it is not SERIAL NODE"));
        };
        let node: NodeName = node.parse().map_err(|error| format!("line {number}: {error}"))?;
        if !taken.insert(node.clone()) {
            return Err(format!("line {number}: {node} stands there twice"));
        }
        // However its address is written.
        let key = serial.parse::<Mac>().map_or_else(|_| serial.to_lowercase(), |mac| mac.to_string());
        if list.insert(key, node).is_some() {
            return Err(format!("line {number}: {serial} stands there twice"));
        }
    }
    Ok(list)
}
