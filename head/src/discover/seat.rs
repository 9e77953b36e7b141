//! What unknown machines boot, and where. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::Ipv4Net;
use wulfpack_shared::id::{Hash, Mac, NodeName};
use wulfpack_shared::image::KernelEntry;

use crate::config::{DhcpConfig, DiscoverConfig, SubnetConfig};
use crate::registry::{ImageRef, Node, Snapshot};

/// Where discovery is on, and for whom it is not.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    /// Networks, and whether it is on there; the smallest first.
    networks: Vec<(Ipv4Net, bool)>,
    /// Devices that are not nodes.
    devices: BTreeSet<Mac>,
}

impl Networks {
    /// As the administrator has it.
    pub fn new(config: &DhcpConfig) -> Self {
        let mut networks: Vec<_> = {
            let on = |settings: &Option<SubnetConfig>| settings.as_ref().is_some_and(|settings| settings.discover);
            config.subnets.iter().map(|(net, settings)| (*net, on(settings))).collect()
        };
        networks.sort_by_key(|(net, _)| core::cmp::Reverse(net.prefix_len()));
        let devices = config.reservations.values().filter_map(|device| device.hwaddr);
        Self { networks, devices: devices.collect() }
    }

    /// Whether it is on anywhere.
    pub fn is_empty(&self) -> bool {
        !self.networks.iter().any(|(_, on)| *on)
    }

    /// Whether this machine, which asks from this address, is to be discovered.
    pub fn cover(&self, mac: Mac, from: IpAddr) -> bool {
        let IpAddr::V4(from) = from.to_canonical() else { return false };
        let here = self.networks.iter().find(|(net, _)| net.contains(&from));
        here.is_some_and(|(_, on)| *on) && !self.devices.contains(&mac)
    }
}

/// What an unknown machine boots as, which is no node: with the image and the kernel arguments of most nodes that it may become,
/// or of one that is added for it, so that it can go on as that without a restart. `any` is an image with a version, where no node says more.
pub fn seat(config: &DiscoverConfig, nodes: &Snapshot, any: impl FnOnce() -> Option<ImageRef>) -> Option<Node> {
    let mut seat = Node::named("discovery".parse::<NodeName>().ok()?);
    let wanted = |node: &Node| match (&config.image, &node.image) {
        (Some(image), Some(own)) => own.name == *image,
        (None, own) => own.is_some(),
        (Some(_), None) => false,
    };
    let most = |vacant: bool| {
        let mut groups: BTreeMap<_, (usize, &Node)> = BTreeMap::new();
        for node in nodes.nodes().filter(|node| wanted(node) && (!vacant || node.vacancy().is_some())) {
            let key = (node.image.as_ref().map(ToString::to_string), &node.kernel_version, &node.kernel_args);
            groups.entry(key).or_insert((0, node)).0 += 1;
        }
        groups.into_values().max_by_key(|(count, _)| *count).map(|(_, node)| node)
    };
    // Where no node is without a machine, one will be added.
    let likely = most(true).or_else(|| nodes.newcomer().filter(|node| wanted(node))).or_else(|| most(false));
    match likely {
        Some(node) => {
            seat.image.clone_from(&node.image);
            seat.kernel_version.clone_from(&node.kernel_version);
            seat.kernel_args.clone_from(&node.kernel_args);
        }
        None => {
            let named = config.image.clone().map(|name| ImageRef { name, version: None });
            seat.image = Some(named.or_else(any)?);
        }
    }
    if !config.kernel_args.is_empty() {
        seat.kernel_args.clone_from(&config.kernel_args);
    }
    Some(seat)
}

/// The kernel arguments of a node beside those of the agent.
pub fn own_args<'a>(node: &'a Node, kernel: &'a KernelEntry) -> &'a [String] {
    if node.kernel_args.is_empty() { &kernel.default_args } else { &node.kernel_args }
}

/// What a machine runs that boots this: two machines with the same could be each other's node.
pub fn runs(kernel: &KernelEntry, node: &Node) -> Hash {
    let words = own_args(node, kernel).iter().flat_map(|argument| argument.split_ascii_whitespace());
    let words: Vec<&str> = words.collect();
    Hash::of(format!("{} {}\0{}", kernel.version, kernel.kernel.hash, words.join(" ")).as_bytes())
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::image::Part;

    use super::*;
    use crate::registry::Interface;

    fn node(name: &str, image: &str, args: &[&str], mac: Option<u8>) -> Node {
        let interface = Interface {
            net: "default".into(),
            mac: mac.map(|last| Mac([2, 0, 0, 0, 0, last])),
            ..Interface::default()
        };
        Node {
            image: Some(image.parse().unwrap()),
            kernel_args: args.iter().map(ToString::to_string).collect(),
            interfaces: vec![interface],
            primary: Some(0),
            ..Node::named(name.parse().unwrap())
        }
    }

    #[test]
    fn it_is_on_where_the_smallest_network_says_so() {
        let config: DhcpConfig = serde_saphyr::from_str(
            "subnets: {10.0.0.0/8: {discover: true}, 10.1.0.0/16: {}, 10.1.7.0/24: {discover: true}}\n\
             reservations: {pdu: {hwaddr: \"02:00:00:00:00:07\", ipaddr: 10.0.0.9}}",
        )
        .unwrap();
        let networks = Networks::new(&config);
        let cover = |from: &str, last| networks.cover(Mac([2, 0, 0, 0, 0, last]), from.parse().unwrap());
        assert!(!networks.is_empty() && Networks::default().is_empty());
        assert!(cover("10.0.0.5", 1) && cover("10.1.7.5", 1) && cover("::ffff:10.0.0.5", 1));
        assert!(!cover("10.1.8.5", 1) && !cover("192.0.2.1", 1) && !cover("fd00::1", 1));
        assert!(!cover("10.0.0.5", 7), "a device that is no node");
    }

    #[test]
    fn a_machine_boots_what_most_nodes_boot_that_it_may_become() {
        let nodes = Snapshot::new([
            node("a1", "old", &[], Some(1)),
            node("a2", "old", &[], Some(2)),
            node("a3", "old", &[], Some(3)),
            node("b1", "new", &["quiet"], None),
            node("b2", "new", &["quiet"], None),
            node("b3", "other", &[], None),
        ]);
        let none = || None;
        let config = DiscoverConfig::default();
        let found = seat(&config, &nodes, none).unwrap();
        assert_eq!(
            (found.image.unwrap().to_string().as_str(), found.kernel_args.as_slice()),
            ("new", &["quiet".to_owned()][..])
        );
        let named =
            DiscoverConfig { image: Some("old".parse().unwrap()), kernel_args: vec!["debug".into()], ..config.clone() };
        let found = seat(&named, &nodes, none).unwrap();
        assert_eq!(
            (found.image.unwrap().to_string().as_str(), found.kernel_args.as_slice()),
            ("old", &["debug".to_owned()][..])
        );
        let full = Snapshot::new([node("a1", "old", &[], Some(1))]).with_newcomer(Some(node("x", "fresh", &[], None)));
        assert_eq!(seat(&config, &full, none).unwrap().image.unwrap().to_string(), "fresh", "as one that is added");
        let empty = Snapshot::default();
        assert!(seat(&config, &empty, none).is_none());
        let any = seat(&config, &empty, || "any".parse().ok()).unwrap();
        assert_eq!(any.image.unwrap().to_string(), "any");
    }

    #[test]
    fn other_arguments_and_other_kernels_are_another_thing_to_run() {
        let kernel = |hash: u8| KernelEntry {
            version: "6.1".into(),
            kernel: Part { hash: Hash([hash; 32]), len: 1 },
            modules: Part { hash: Hash::default(), len: 1 },
            default_args: vec!["quiet".into()],
        };
        let plain = node("n", "i", &[], None);
        assert_eq!(runs(&kernel(1), &plain), runs(&kernel(1), &node("m", "j", &["quiet"], None)));
        assert_ne!(runs(&kernel(1), &plain), runs(&kernel(2), &plain));
        assert_ne!(runs(&kernel(1), &plain), runs(&kernel(1), &node("n", "i", &["quiet", "x"], None)));
    }
}
