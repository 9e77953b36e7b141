//! Settings for machines that are not in the registry: what they boot to tell what they are, and which of them become nodes by
//! themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{ImageName, NodeName};

use crate::nodeset::{NoGroups, Resolver};

/// Machines that are not in the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiscoverConfig {
    /// Image whose kernel and modules they boot; without: that of most nodes that have no machine yet.
    #[schemars(with = "Option<String>")]
    pub image: Option<ImageName>,
    /// Kernel arguments for them; without: those of the nodes that they may become.
    pub kernel_args: Vec<String>,
    /// Machines that become a node by themselves; the first rule that fits and names a free node wins.
    pub rules: Vec<AdoptRule>,
}

/// A rule by which a machine becomes a node. All of `when` has to fit; one of `node`, `ports`, `nodes` and `list` says which node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdoptRule {
    /// What has to fit.
    pub when: AdoptWhen,
    /// A name with `{port}` (the last number in the name of the switch's port), `{serial}`, `{asset}` or `{mac}` in it.
    pub node: Option<String>,
    /// By the name of the switch's port.
    #[schemars(with = "BTreeMap<String, String>")]
    pub ports: BTreeMap<String, NodeName>,
    /// Names and ranges as in a nodeset: the first of these nodes that has no machine yet, in their order.
    pub nodes: Option<String>,
    /// A file with a line `SERIAL NODE` (or `SERIAL,NODE`) for each machine; MAC addresses and UUIDs do as well.
    #[schemars(with = "Option<String>")]
    pub list: Option<PathBuf>,
}

/// What a machine has to be: patterns with `*` and `?`, compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdoptWhen {
    /// Name or chassis id of the switch that it is plugged into, as that says itself (LLDP).
    pub switch: Option<String>,
    /// Name or description of the switch's port.
    pub port: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Asset tag of the chassis.
    pub asset: Option<String>,
    /// Vendor.
    pub vendor: Option<String>,
    /// Product.
    pub product: Option<String>,
    /// MAC address of one of its interfaces.
    pub mac: Option<String>,
    /// Architecture, such as `x86_64`.
    pub arch: Option<String>,
    /// Network that it asks from, such as `10.1.0.0/16`.
    #[schemars(with = "Option<String>")]
    pub subnet: Option<ipnet::IpNet>,
    /// Least memory in GiB.
    pub memory_gib: Option<u32>,
    /// Least number of GPUs.
    pub gpus: Option<u16>,
    /// Least number of disks.
    pub disks: Option<u16>,
}

impl AdoptRule {
    /// Whether it is about the switch that a machine is plugged into.
    pub fn wants_switch(&self) -> bool {
        let ports = self.node.as_ref().is_some_and(|node| node.contains("{port}")) || !self.ports.is_empty();
        ports || self.when.switch.is_some() || self.when.port.is_some()
    }
}

impl DiscoverConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        for (index, rule) in self.rules.iter().enumerate() {
            let place = format!("discover: rules: number {}", index + 1);
            let says = [rule.node.is_some(), !rule.ports.is_empty(), rule.nodes.is_some(), rule.list.is_some()];
            match says.into_iter().filter(|said| *said).count() {
                1 => {}
                0 => return Err(format!("{place}: nothing says which node: give it node, ports, nodes or list")),
                _ => return Err(format!("{place}: only one of node, ports, nodes and list can say which node")),
            }
            if let Some(list) = rule.list.as_ref().filter(|list| !list.is_absolute()) {
                return Err(format!("{place}: list: {} is not an absolute path", list.display()));
            }
            if let Some(nodes) = &rule.nodes {
                let names = Resolver::new(&NoGroups).in_order(std::slice::from_ref(nodes));
                names.map_err(|error| format!("{place}: nodes: {error}"))?;
            }
            let everybody = rule.when == AdoptWhen::default() && (rule.nodes.is_some() || rule.node.is_some());
            if everybody && rule.node.as_ref().is_none_or(|node| !node.contains('{')) {
                return Err(format!("{place}: it fits every machine; say under `when` which ones it is for"));
            }
        }
        Ok(())
    }
}
