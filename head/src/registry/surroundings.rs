//! What a registry refers to outside itself: images, overlays, the networks of the head. Looked up only when something changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::Ipv4Net;
use wulfpack_shared::id::NodeName;

use super::io::Registry;
use super::problem::Problem;
use super::resolved::{Interface, Node, Snapshot};
use crate::config::{Paths, yaml};

/// What there is. `None` means that nobody knows, and nothing is checked.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Names of images.
    pub images: Option<BTreeSet<String>>,
    /// Names of overlays.
    pub overlays: Option<BTreeSet<String>>,
    /// IPv4 networks on which the head serves, with its own addresses in them.
    pub networks: Vec<Ipv4Net>,
}

impl Surroundings {
    /// Images and overlays as they lie on the disk.
    pub fn of(paths: &Paths, networks: Vec<Ipv4Net>) -> Self {
        let overlays = directories(&paths.overlays).chain(directories(&paths.shipped_overlays()));
        let overlays = overlays.chain(crate::overlay::shipped_names().map(str::to_owned)).collect();
        Self { images: Some(directories(&paths.images()).collect()), overlays: Some(overlays), networks }
    }

    /// All that does not fit, whoever said it and when.
    pub fn standing(&self, registry: &Registry) -> Vec<Problem> {
        self.check(&Snapshot::default(), registry)
    }

    /// What in `after` does not fit, unless the node said the same `before`: what stands is not this change's business.
    pub(super) fn check(&self, before: &Snapshot, after: &Registry) -> Vec<Problem> {
        let mut told = BTreeMap::new();
        for node in after.resolve().nodes() {
            let old = before.node(&node.name);
            if old == Some(node) {
                continue;
            }
            for (field, what) in self.node(node) {
                if !old.is_some_and(|old| self.node(old).any(|(_, standing)| standing == what)) {
                    // A profile's mistake shows in each of its nodes; the first one is enough.
                    told.entry((field, what)).or_insert_with(|| node.name.clone());
                }
            }
        }
        let problem = |((field, what), node): ((String, String), NodeName)| Problem {
            line: None,
            place: format!("node {node}: {field}"),
            what,
            see: None,
        };
        told.into_iter().map(problem).collect()
    }

    fn node<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = (String, String)> + 'a {
        let image = node.image.iter().filter_map(|image| {
            let known = self.images.as_ref()?;
            missing("image", image.name.as_str(), known).map(|what| ("image name".to_owned(), what))
        });
        let overlays = [("system overlay", &node.system_overlays), ("runtime overlay", &node.runtime_overlays)];
        let overlays = overlays.into_iter().flat_map(move |(field, names)| {
            let find = move |name: &wulfpack_shared::id::OverlayName| {
                missing("overlay", name.as_str(), self.overlays.as_ref()?).map(|what| (field.to_owned(), what))
            };
            names.iter().filter_map(find)
        });
        let addresses = node.interfaces.iter().enumerate().flat_map(move |(index, interface)| {
            let what = self.address(interface, node.primary == Some(index));
            what.map(|what| (format!("network devices: {}: ipaddr", interface.net), what))
        });
        image.chain(overlays).chain(addresses)
    }

    /// What is wrong with an interface's IPv4 address. Only networks that the head knows count: of others it cannot say.
    fn address(&self, interface: &Interface, primary: bool) -> Option<String> {
        let Some(IpAddr::V4(ip)) = interface.ip else { return None };
        if let (Some(prefix), Some(IpAddr::V4(gateway))) = (interface.prefix, interface.gateway)
            && let Ok(net) = Ipv4Net::new(ip, prefix)
            && prefix < 32
            && !net.contains(&gateway)
        {
            return Some(format!("its gateway {gateway} does not lie in its network {}", net.trunc()));
        }
        let Some(net) = self.networks.iter().find(|net| net.contains(&ip)) else {
            return (primary && interface.mac.is_some() && !self.networks.is_empty()).then(|| {
                let known: Vec<String> = self.networks.iter().map(|net| net.trunc().to_string()).collect();
                format!("{ip} lies in no network that this head serves ({})", known.join(", "))
            });
        };
        if net.prefix_len() < 31 && (ip == net.network() || ip == net.broadcast()) {
            return Some(format!("{ip} is no address of a machine: it is the first or the last of {}", net.trunc()));
        }
        if net.addr() == ip {
            return Some(format!("{ip} is this head's own address"));
        }
        let differs = interface.prefix.filter(|prefix| *prefix != net.prefix_len());
        differs.map(|prefix| format!("netmask /{prefix} differs from that of the head's network {}", net.trunc()))
    }
}

fn missing(kind: &str, name: &str, known: &BTreeSet<String>) -> Option<String> {
    if known.contains(name) {
        return None;
    }
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    Some(yaml::unknown(&format!("there is no {kind} {name:?}"), name, &names))
}

/// Names of the directories in one.
fn directories(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok())
}

/// IPv4 networks of these interfaces of this host, with the host's own addresses in them.
///
/// # Errors
/// The system does not say which addresses it has.
pub fn networks_of(interfaces: &BTreeSet<String>) -> std::io::Result<Vec<Ipv4Net>> {
    let mut networks = vec![];
    for address in nix::ifaddrs::getifaddrs()? {
        let part = |address: Option<nix::sys::socket::SockaddrStorage>| -> Option<Ipv4Addr> {
            Some(address?.as_sockaddr_in()?.ip())
        };
        if let (Some(ip), Some(mask)) = (part(address.address), part(address.netmask))
            && interfaces.contains(&address.interface_name)
        {
            networks.extend(Ipv4Net::with_netmask(ip, mask));
        }
    }
    Ok(networks)
}
