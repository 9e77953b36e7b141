//! Nodes: mistakes that stand in the registry, what is missing for a boot, overlays that cannot be rendered.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wulfpack_shared::identity::SecretKey;

use super::examine::RunningHead;
use super::model::{Group, LISTED, some_of};
use crate::config::Config;
use crate::nodeset::NodeSet;
use crate::overlay::{Facts, Renderer, read_authorized_keys};
use crate::registry::{Node, Registry, Snapshot, Surroundings, check_racks};

/// Looks at the registry. `ssh`: the secret behind host keys, without which overlays are not rendered.
pub(super) fn check(
    config: &Config,
    registry: &Registry,
    surroundings: &Surroundings,
    ssh: Option<&SecretKey>,
    running: Option<&RunningHead>,
) -> Group {
    let mut group = Group::new("nodes");
    let snapshot = registry.resolve();
    let nodes: Vec<&Node> = snapshot.nodes().map(AsRef::as_ref).collect();
    if let Some(why) = running.and_then(|head| head.registry_error.as_ref()) {
        group.bad(
            "in force",
            format!("the running head goes by an older registry: {why}"),
            "mend nodes.yaml, or: wulf undo",
        );
    }
    standing(config, registry, surroundings, &mut group);
    if nodes.is_empty() {
        group.warning("nodes", "there are none", "wulf node add NAME --hwaddr MAC --ipaddr ADDRESS --netmask MASK");
        return group;
    }
    group.ok("nodes", format!("{}", nodes.len()));
    let folded = |wanted: &dyn Fn(&Node) -> bool| {
        let names: NodeSet = nodes.iter().filter(|node| wanted(node)).map(|node| node.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{} of {}: {names:.200}", names.len(), nodes.len()))
    };
    let has_mac = |node: &Node| node.interfaces.iter().any(|interface| interface.mac.or(interface.port_mac).is_some());
    if let Some(which) = folded(&|node| !has_mac(node) && !node.discoverable) {
        let fix = "wulf node set NODE --hwaddr MAC, or --discoverable";
        group.warning("MAC addresses", format!("no machine can be {which}"), fix);
    }
    if let Some(which) = folded(&|node| node.image.is_none() && node.ipxe.is_none()) {
        group.warning("images", format!("nothing to boot: {which}"), "wulf profile set default --image NAME");
    }
    racks(config, &snapshot, &mut group);
    overlays(config, registry, ssh, &nodes, &mut group);
    group
}

/// What would be refused if it were set today.
fn standing(config: &Config, registry: &Registry, surroundings: &Surroundings, group: &mut Group) {
    let path = config.paths.nodes_file();
    let errors = &registry.errors().0;
    let around = surroundings.standing(registry);
    let warnings = registry.warnings();
    for (problems, bad) in [(errors.as_slice(), true), (around.as_slice(), true), (warnings, false)] {
        for problem in problems.iter().take(LISTED) {
            let fix = "wulf node edit, or wulf profile edit";
            if bad {
                group.bad("nodes.yaml", problem.to_string(), fix)
            } else {
                group.warning("nodes.yaml", problem.to_string(), fix)
            }
        }
        if problems.len() > LISTED {
            let more = format!("{} more of the kind", problems.len() - LISTED);
            if bad {
                group.bad("nodes.yaml", more, "mend the ones above first")
            } else {
                group.warning("nodes.yaml", more, "mend the ones above first")
            }
        }
    }
    if errors.is_empty() && around.is_empty() && warnings.is_empty() {
        group.ok("nodes.yaml", format!("{} has no mistake", path.display()));
    }
}

/// Machines that are one rack whether or not anybody says so.
const ONE_RACK: usize = 48;

/// Unknown racks get no cap: peers fetch across the whole cluster as if all were one switch (REAL-CLUSTERS, rule 38).
fn racks(config: &Config, snapshot: &Snapshot, group: &mut Group) {
    let named: BTreeSet<_> = snapshot.nodes().filter_map(|node| node.rack.as_ref()).collect();
    let found = check_racks(&config.racks, snapshot);
    let nodes = snapshot.nodes().count();
    if !found.is_empty() {
        found.into_iter().for_each(|(what, fix)| group.warning("racks", what, fix));
    } else if !named.is_empty() {
        group.ok("racks", format!("{}", named.len()));
    } else if nodes <= ONE_RACK {
        group.ok("racks", "none is named; so few nodes need none");
    } else {
        group.warning(
            "racks",
            format!(
                "none of {nodes} nodes is in one, so that nothing keeps their transfers off the links between racks"
            ),
            "wulf node set NODESET --rack NAME, or `racks: pattern` in wulfpack.yaml",
        );
    }
}

fn overlays(config: &Config, registry: &Registry, ssh: Option<&SecretKey>, nodes: &[&Node], group: &mut Group) {
    let Some(ssh) = ssh else { return group.skipped("overlays", "only root can render them") };
    let keys = match read_authorized_keys(&config.paths) {
        Ok(keys) => keys,
        Err(error) => return group.skipped("overlays", error.to_string()),
    };
    let heads: Vec<IpAddr> = crate::serve::head_addresses(config);
    let facts = Facts::new(config, &registry.resolve(), &heads, &keys, ssh.clone());
    let renderer = Renderer::of(&config.paths);
    let now = renderer.now();
    let mut failed: Vec<(String, Vec<String>)> = vec![];
    for node in nodes {
        if let Err(error) = now.render(node, &facts) {
            let why = error.to_string();
            match failed.iter_mut().find(|(known, _)| *known == why) {
                Some((_, names)) => names.push(node.name.to_string()),
                None => failed.push((why, vec![node.name.to_string()])),
            }
        }
    }
    if failed.is_empty() {
        group.ok("overlays", format!("those of all {} nodes can be rendered", nodes.len()));
    }
    for (why, names) in failed.iter().take(LISTED) {
        group.bad("overlays", format!("{}: {why}", some_of(names)), "wulf overlay edit, or take it off these nodes");
    }
}
