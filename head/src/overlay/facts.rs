//! What templates see of the cluster, prepared once for all nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;
use wulfpack_shared::id::{Hash, NodeName};
use wulfpack_shared::identity::SecretKey;

use crate::config::{Config, Paths};
use crate::nodeset::NodeSet;
use crate::registry::{Interface, Node, Snapshot};

/// Everything that is not of one node. Made once for each snapshot: with ten thousand nodes it is not cheap.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Tells these facts from all others of this process.
    pub(super) id: u64,
    /// Equal for facts that differ in nothing but the nodes and the keys that may log in.
    pub(super) settings: Hash,
    pub(super) cluster: Value,
    pub(super) nodes: Value,
    pub(super) hosts: Value,
    pub(super) groups: Value,
    pub(super) authorized_keys: String,
    pub(super) agent: Value,
    pub(super) ssh: SecretKey,
}

#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    domain: &'a str,
    dns: &'a [IpAddr],
    heads: &'a [IpAddr],
}

#[derive(Serialize)]
struct Agent {
    port: u16,
}

/// An interface as templates see it.
#[derive(Serialize)]
struct InterfaceView<'a> {
    #[serde(flatten)]
    interface: &'a Interface,
    primary: bool,
}

/// A node as templates see it: with `primary` the interface instead of its index.
#[derive(Serialize)]
struct NodeView<'a> {
    #[serde(flatten)]
    node: &'a Node,
    fqdn: String,
    interfaces: Vec<InterfaceView<'a>>,
    primary: Option<&'a Interface>,
}

impl Facts {
    /// Facts of the cluster: its configuration, all nodes, the addresses of the heads, the public keys that may log in to
    /// nodes as root (lines of an `authorized_keys` file), and the secret from which SSH host keys are derived.
    pub fn new(config: &Config, snapshot: &Snapshot, heads: &[IpAddr], authorized_keys: &str, ssh: SecretKey) -> Self {
        let told = (&config.cluster, &config.domain, &config.dns, heads, config.ports.data, ssh.public());
        let settings = Hash::of(format!("{told:?}").as_bytes());
        let cluster = Cluster { name: &config.cluster, domain: &config.domain, dns: &config.dns, heads };
        let nodes: Value = snapshot.nodes().map(|node| view(node, &config.domain)).collect();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            settings,
            cluster: Value::from(Serde(cluster)),
            nodes,
            hosts: Value::from_safe_string(host_lines(snapshot, &config.domain)),
            groups: groups(snapshot),
            authorized_keys: authorized_keys.trim().to_owned(),
            agent: Value::from(Serde(Agent { port: config.ports.data })),
            ssh,
        }
    }
}

/// The public keys that may log in to nodes as root; none if the file does not exist.
pub fn read_authorized_keys(paths: &Paths) -> io::Result<String> {
    match fs::read_to_string(paths.authorized_keys()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// The node as templates see it.
pub(super) fn view(node: &Node, domain: &str) -> Value {
    let interfaces = node.interfaces.iter().enumerate();
    Value::from(Serde(NodeView {
        node,
        fqdn: fqdn(node, domain),
        interfaces: interfaces
            .map(|(index, interface)| InterfaceView { interface, primary: node.primary == Some(index) })
            .collect(),
        primary: node.primary(),
    }))
}

fn fqdn(node: &Node, domain: &str) -> String {
    if domain.is_empty() { node.name.to_string() } else { format!("{}.{domain}", node.name) }
}

/// What `@NAME` means in a nodeset, by name, folded: nodes of the group, else those with the profile; and `all`.
fn groups(snapshot: &Snapshot) -> Value {
    let mut members: BTreeMap<&str, Vec<&NodeName>> = BTreeMap::new();
    let mut by_profile: BTreeMap<&str, Vec<&NodeName>> = BTreeMap::new();
    for node in snapshot.nodes() {
        members.entry("all").or_default().push(&node.name);
        for group in &node.groups {
            members.entry(group).or_default().push(&node.name);
        }
        for profile in &node.profiles {
            by_profile.entry(profile).or_default().push(&node.name);
        }
    }
    for (profile, names) in by_profile {
        members.entry(profile).or_insert(names);
    }
    let folded =
        |(name, names): (&str, Vec<&NodeName>)| (name.to_owned(), names.into_iter().collect::<NodeSet>().to_string());
    members.into_iter().map(folded).collect::<BTreeMap<String, String>>().into()
}

/// Lines of `/etc/hosts` for all nodes: rendering them in a template for each node would take the square of their number. An address
/// has the names that Warewulf gives it: the node's, if it is that of the primary interface, and those of network and device.
pub fn host_lines(snapshot: &Snapshot, domain: &str) -> String {
    let mut lines = vec![];
    for node in snapshot.nodes() {
        for (index, interface) in node.interfaces.iter().enumerate() {
            // Names, nets, devices and domain are checked; none of them can hold a blank or a line break.
            let mut names = String::new();
            if node.primary == Some(index) {
                if !domain.is_empty() {
                    _ = write!(names, " {}", fqdn(node, domain));
                }
                _ = write!(names, " {}", node.name);
            }
            _ = write!(names, " {}-{}", node.name, interface.net);
            if let Some(device) = interface.device.as_ref().filter(|device| **device != interface.net) {
                _ = write!(names, " {}-{device}", node.name);
            }
            lines.extend([interface.ip, interface.ip6].into_iter().flatten().map(|ip| format!("{ip}{names}")));
        }
    }
    lines.join("\n")
}
