//! What the registry says of a node after profiles were merged: the only form that boot services, overlays and join see.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use wulfpack_shared::id::{ImageName, Mac, NodeName, OverlayName, ParseIdError, RackName, VersionId};
use wulfpack_shared::manners::Manners;
use wulfpack_shared::wire::{OnFail, RootMode, SeedPolicy};

use super::hardware::{Controller, DiskFileSystem, DiskLayout};
use crate::boot::BootChoice;
use crate::config::Seed;

/// An image, or one version of it: `name` or `name@id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// The image.
    pub name: ImageName,
    /// The pinned version; `None` means the active one.
    pub version: Option<VersionId>,
}

impl FromStr for ImageRef {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
        Ok(Self { name: name.parse()?, version: version.map(str::parse).transpose()? })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl Serialize for ImageRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `10m`, `always` or `never`, as people write it.
fn as_text<S: Serializer>(seed: &SeedPolicy, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Seed(*seed))
}

/// One network interface of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Key under `network devices`, such as `default`.
    pub net: String,
    /// `ethernet`, `infiniband`, `bond`, …; `None` means ethernet.
    pub kind: Option<String>,
    /// Interface name on the node.
    pub device: Option<String>,
    /// MAC address.
    pub mac: Option<Mac>,
    /// Of an InfiniBand port: the MAC address that belongs to its GUID, by which boot services know it (RFC 4390).
    pub port_mac: Option<Mac>,
    /// Address.
    pub ip: Option<IpAddr>,
    /// Length of the IPv4 network prefix in bits.
    pub prefix: Option<u8>,
    /// Default gateway.
    pub gateway: Option<IpAddr>,
    /// IPv6 address.
    pub ip6: Option<IpAddr>,
    /// Length of the IPv6 prefix in bits.
    pub prefix6: Option<u8>,
    /// IPv6 gateway.
    pub gateway6: Option<IpAddr>,
    /// MTU in bytes.
    pub mtu: Option<u16>,
    /// Whether the node's network manager brings it up; default yes.
    pub on_boot: bool,
    /// Free-form, for overlays.
    pub tags: BTreeMap<String, String>,
}

/// One node, resolved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Free text.
    pub comment: Option<String>,
    /// `cluster name`.
    pub cluster: Option<String>,
    /// Profiles in the order in which they were merged.
    pub profiles: Vec<String>,
    /// What it boots.
    pub image: Option<ImageRef>,
    /// Kernel release or prefix of one; `None` means the image's default.
    pub kernel_version: Option<String>,
    /// Kernel arguments.
    pub kernel_args: Vec<String>,
    /// Path of init in the image.
    pub init: String,
    /// Root mode.
    pub root: RootMode,
    /// Upper layer in percent of memory.
    pub root_percent: u8,
    /// What the agent does when a phase failed.
    pub on_fail: OnFail,
    /// How long it serves the image.
    #[serde(serialize_with = "as_text")]
    pub seed: SeedPolicy,
    /// What it takes of links and processors for the swarm.
    #[serde(rename = "swarm")]
    pub manners: Manners,
    /// Its rack.
    pub rack: Option<RackName>,
    /// System overlays in order.
    pub system_overlays: Vec<OverlayName>,
    /// How it boots.
    pub boot: BootChoice,
    /// Runtime overlays in order.
    pub runtime_overlays: Vec<OverlayName>,
    /// Groups, for `@group` in nodesets; its own and those of its profiles.
    pub groups: Vec<String>,
    /// Boot script template: `default`, `localdisk`, `discover` or `shell`; `None` means `default`.
    pub ipxe: Option<String>,
    /// Whether an unknown machine may become this node.
    pub discoverable: bool,
    /// Asset tag that the machine's chassis has to show.
    pub asset_key: Option<String>,
    /// Its management controller.
    pub ipmi: Controller,
    /// Disks by device, for overlays that partition them.
    pub disks: BTreeMap<String, DiskLayout>,
    /// File systems by device, for overlays that make and mount them.
    pub filesystems: BTreeMap<String, DiskFileSystem>,
    /// All interfaces, by net name.
    pub interfaces: Vec<Interface>,
    /// Index of the primary interface in `interfaces`.
    pub primary: Option<usize>,
    /// Free-form, for overlays.
    pub tags: BTreeMap<String, String>,
    /// Free-form structures, for overlays.
    pub resources: BTreeMap<String, serde_json::Value>,
}

impl Node {
    /// A node of which the registry says no more than its name.
    pub fn named(name: NodeName) -> Self {
        Self {
            name,
            comment: None,
            cluster: None,
            profiles: vec![],
            image: None,
            kernel_version: None,
            kernel_args: vec![],
            init: "/sbin/init".into(),
            root: RootMode::default(),
            root_percent: 25,
            on_fail: OnFail::default(),
            seed: SeedPolicy::default(),
            manners: Manners::default(),
            rack: None,
            boot: BootChoice::default(),
            system_overlays: vec![],
            runtime_overlays: vec![],
            groups: vec![],
            ipxe: None,
            discoverable: false,
            asset_key: None,
            ipmi: Controller::default(),
            disks: BTreeMap::new(),
            filesystems: BTreeMap::new(),
            interfaces: vec![],
            primary: None,
            tags: BTreeMap::new(),
            resources: BTreeMap::new(),
        }
    }

    /// The interface that carries the node's main address.
    pub fn primary(&self) -> Option<&Interface> {
        self.interfaces.get(self.primary?)
    }

    /// The interface with this MAC address.
    pub fn interface(&self, mac: Mac) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.mac.or(interface.port_mac) == Some(mac))
    }

    /// Which network interface an unknown machine would get that becomes this node, by net name; it may have to be made. `None`
    /// where the node has a machine.
    pub fn vacancy(&self) -> Option<&str> {
        let ethernet = |interface: &&Interface| interface.kind.as_deref().is_none_or(|kind| kind == "ethernet");
        if self.interfaces.iter().any(|interface| interface.mac.is_some()) {
            return None;
        }
        let primary = self.primary().filter(ethernet).or_else(|| self.interfaces.iter().find(ethernet));
        Some(primary.map_or("default", |interface| interface.net.as_str()))
    }

    fn take(&mut self, mac: Mac) {
        let Some(net) = self.vacancy().map(str::to_owned) else { return };
        match self.interfaces.iter_mut().find(|interface| interface.net == net) {
            Some(interface) => interface.mac = Some(mac),
            None => {
                self.interfaces.push(Interface { net, mac: Some(mac), on_boot: true, ..Interface::default() });
                self.primary = self.primary.or(Some(self.interfaces.len() - 1));
            }
        }
        self.discoverable = false;
    }
}

/// All nodes at one moment. Immutable: a change of the registry makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<NodeName, Arc<Node>>,
    by_mac: BTreeMap<Mac, NodeName>,
    by_ip: BTreeMap<IpAddr, NodeName>,
    newcomer: Option<Arc<Node>>,
}

impl Snapshot {
    /// A snapshot of these nodes. Of two nodes with one MAC address the first by name keeps it; validation refuses that earlier.
    pub fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        let nodes: BTreeMap<_, _> = nodes.into_iter().map(|node| (node.name.clone(), Arc::new(node))).collect();
        let (mut by_mac, mut by_ip) = (BTreeMap::new(), BTreeMap::new());
        for node in nodes.values() {
            for interface in &node.interfaces {
                if let Some(mac) = interface.mac.or(interface.port_mac) {
                    by_mac.entry(mac).or_insert_with(|| node.name.clone());
                }
                for ip in [interface.ip, interface.ip6].into_iter().flatten() {
                    by_ip.entry(ip).or_insert_with(|| node.name.clone());
                }
            }
        }
        Self { nodes, by_mac, by_ip, newcomer: None }
    }

    /// The same with what a node gets of which nothing is said but that it is there.
    #[must_use]
    pub fn with_newcomer(mut self, node: Option<Node>) -> Self {
        self.newcomer = node.map(Arc::new);
        self
    }

    /// What a node gets of which nothing is said but that it is there, by the profile `default`.
    pub fn newcomer(&self) -> Option<&Node> {
        self.newcomer.as_deref()
    }

    /// The same with machines that have become nodes beyond what the registry says. It goes first: who has a place there keeps it.
    #[must_use]
    pub fn with_machines<'a>(&self, machines: impl IntoIterator<Item = (&'a NodeName, Mac)>) -> Self {
        let mut all = self.clone();
        for (name, mac) in machines {
            let Some(node) = all.nodes.get(name).filter(|node| node.vacancy().is_some()) else { continue };
            if all.by_mac.contains_key(&mac) {
                continue;
            }
            let mut node = Node::clone(node);
            node.take(mac);
            all.by_mac.insert(mac, name.clone());
            all.nodes.insert(name.clone(), Arc::new(node));
        }
        all
    }

    /// The node with this name.
    pub fn node(&self, name: &NodeName) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// The node that owns this MAC address.
    pub fn by_mac(&self, mac: Mac) -> Option<&Arc<Node>> {
        self.nodes.get(self.by_mac.get(&mac)?)
    }

    /// The node to which the registry gives this address.
    pub fn by_ip(&self, ip: IpAddr) -> Option<&Arc<Node>> {
        self.nodes.get(self.by_ip.get(&ip)?)
    }

    /// All nodes by name.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.nodes.values()
    }
}
