//! All checks in order.

use std::collections::BTreeSet;
use std::path::Path;

use wulfpack_shared::id::PublicKey;
use wulfpack_shared::identity::SecretKey;

use super::model::{Check, Group};
use super::{files, images, network, nodes, system};
use crate::admin::DhcpStatus;
use crate::config::{Config, Keys};
use crate::image::Library;
use crate::registry::{Defaults, Registry, RegistryError, Surroundings, networks_of};

/// What the running head says of itself.
#[derive(Clone, Debug, Default)]
pub struct RunningHead {
    /// Version of its program.
    pub version: String,
    /// Its services.
    pub dhcp: DhcpStatus,
    /// Why the registry as it stands in the file is not used.
    pub registry_error: Option<String>,
}

/// Which head is looked at.
#[derive(Debug)]
pub struct Patient<'a> {
    /// Its configuration file.
    pub path: &'a Path,
    /// What that says; else what is wrong with it.
    pub config: Result<&'a Config, String>,
    /// What it says while it runs.
    pub running: Option<RunningHead>,
}

/// Looks at everything. Without a configuration there is nothing to look at but that.
pub fn examine(patient: &Patient<'_>) -> Vec<Check> {
    let mut group = Group::new("configuration");
    let place = patient.path.display().to_string();
    let config = match &patient.config {
        Ok(config) => *config,
        Err(why) => {
            group.bad(
                "wulfpack.yaml",
                why,
                format!("mend {place} (wulf config default shows every setting), then: wulf doctor"),
            );
            return group.checks;
        }
    };
    group.ok("wulfpack.yaml", place);
    let running = patient.running.as_ref();
    let keys = Keys::load(&config.paths).ok();
    let library = Library::looked_at(config.paths.images());
    let images = library.list().unwrap_or_default();
    let registry = load(config, &mut group);
    let snapshot = registry.as_ref().map(Registry::resolve).unwrap_or_default();
    let controllers = snapshot.nodes().any(|node| node.ipmi.ip.is_some());
    let mut groups = vec![group];
    groups.push(files::check(config));
    groups.push(network::check(config, running, snapshot.nodes().len()));
    groups.push(system::check(config, running, &images, controllers));
    let known: Vec<PublicKey> = keys.as_ref().map(|keys| keys.cluster.known()).unwrap_or_default();
    groups.push(images::check(config, &library, &images, &snapshot, &known));
    let ssh: Option<&SecretKey> = keys.as_ref().map(|keys| &keys.ssh);
    let around = surroundings(config);
    groups.extend(registry.map(|registry| nodes::check(config, &registry, &around, ssh, running)));
    groups.into_iter().flat_map(|group| group.checks).collect()
}

fn load(config: &Config, group: &mut Group) -> Option<Registry> {
    let path = config.paths.nodes_file();
    match Registry::load_with(&path, Defaults::from(config)) {
        Ok(registry) => Some(registry),
        Err(RegistryError::Read { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            group.skipped("nodes.yaml", "only root and the head's own user can read it");
            None
        }
        Err(error) => {
            group.bad("nodes.yaml", error.to_string(), "mend it, or: wulf undo");
            None
        }
    }
}

fn surroundings(config: &Config) -> Surroundings {
    let interfaces: BTreeSet<String> = config.interfaces.keys().cloned().collect();
    let mut networks = networks_of(&interfaces).unwrap_or_default();
    // Behind relays there are more.
    networks.extend(config.dhcp.subnets.keys().copied());
    Surroundings::of(&config.paths, networks)
}
