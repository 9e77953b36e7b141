//! All steps in their order.

use std::net::Ipv4Addr;
use std::sync::Arc;

use wulfpack_shared::id::{Mac, NodeName, PublicKey};
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::time::UnixTime;

use super::firmware::{self, Asking, Firmware};
use super::model::{Explained, Known, Step};
use super::{script, system};
use crate::boot::{Loader, Once, Scripts};
use crate::config::Config;
use crate::dhcp::State;
use crate::image::Library;
use crate::registry::{Node, Registry, origins};
use crate::serve::BootSettings;

/// The head that answers.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Its configuration.
    pub config: &'a Config,
    /// What its boot services go by.
    pub boot: &'a BootSettings,
    /// The registry.
    pub registry: &'a Registry,
    /// Its images.
    pub library: &'a Library,
    /// Its own public key and those of the cluster; only root can read them.
    pub keys: Option<(&'a PublicKey, &'a [PublicKey])>,
    /// The secret behind the SSH host keys of nodes; only root can read it.
    pub ssh: Option<&'a SecretKey>,
    /// State of its DHCP server, if it runs.
    pub state: Option<State>,
    /// What was chosen for the node's next boot only.
    pub once: Option<Once>,
    /// The time.
    pub now: UnixTime,
}

/// The machine that is asked about.
#[derive(Clone, Debug)]
pub enum Machine {
    /// A node, by the interface of this network, else by the first one that has a MAC address.
    Node(NodeName, Option<String>),
    /// Whoever has this MAC address.
    Mac(Mac),
}

/// How it asks.
#[derive(Clone, Debug, Default)]
pub struct Asks {
    /// These firmwares; [`Firmware::USUAL`] without.
    pub firmwares: Vec<Firmware>,
    /// From the head's interface with this name.
    pub link: Option<String>,
    /// Through this relay.
    pub relay: Option<Ipv4Addr>,
}

/// What the machine would be told at each step, and why. Reads files of the image library; sends nothing.
///
/// # Errors
/// There is no such node.
pub fn explain(head: &Head<'_>, machine: &Machine, asks: &Asks) -> Result<Explained, String> {
    let (node, mac, net) = find(head, machine)?;
    let node = node.map(|node| meant(head, node));
    let mut explained = Explained { node: node.as_ref().map(|node| node.name.clone()), mac, ..Explained::default() };
    let file = head.registry.file();
    let origins = node.as_ref().and_then(|node| {
        let name = node.name.as_str();
        file.nodes.get(name).map(|entry| origins(file, name, entry))
    });
    let origins = origins.unwrap_or_default();
    let known = node.as_deref().map(|node| Known { node, origins: &origins });
    let Some(mac) = mac else {
        let name = known.map(|known| known.node.name.to_string()).unwrap_or_default();
        let of = net.map_or_else(String::new, |net| format!(" of its network {net}"));
        let why = format!(
            "no interface{of} has a MAC address, so that no machine is {name}: \"wulf node set {name} --hwaddr MAC\""
        );
        explained.steps.push(Step::new("dhcp").stop(why));
        explained.steps.extend(known.map(|known| system_steps(head, known, None)).unwrap_or_default());
        return Ok(explained);
    };
    let asking = Asking { mac, known, link: asks.link.as_deref(), relay: asks.relay };
    let firmwares: &[Firmware] = if asks.firmwares.is_empty() { &Firmware::USUAL } else { &asks.firmwares };
    let (steps, link) = firmware::steps(head, asking, firmwares);
    explained.steps = steps;
    let interface = known.and_then(|known| known.node.interface(mac));
    let ip = interface.and_then(|interface| interface.ip.or(interface.ip6));
    let base = script::base(head, link.as_deref(), ip);
    let Some(known) = known else {
        explained.steps.push(script::unknown(head, base.map(|(address, _)| address), mac));
        return Ok(explained);
    };
    explained.steps.extend(script::steps(head, known, mac, base));
    explained.steps.extend(system_steps(head, known, base.map(|(_, proof)| proof)));
    Ok(explained)
}

fn system_steps(head: &Head<'_>, known: Known<'_>, proof: Option<crate::config::TokenEvidence>) -> Vec<Step> {
    let join = proof.map(system::join);
    let steps = join.into_iter().chain([system::image_step(head, known), system::root(known)]);
    steps.chain(system::overlays(head, known)).collect()
}

/// The node as it boots next.
fn meant(head: &Head<'_>, node: Arc<Node>) -> Arc<Node> {
    let Some(once) = &head.once else { return node };
    let scripts = Scripts::new(Some(&head.config.paths.etc));
    Arc::new(once.apply(&node, |template| scripts.boots_image(Loader::Ipxe, template)))
}

type Found = (Option<Arc<Node>>, Option<Mac>, Option<String>);

fn find(head: &Head<'_>, machine: &Machine) -> Result<Found, String> {
    let snapshot = head.registry.resolve();
    match machine {
        Machine::Mac(mac) => Ok((snapshot.by_mac(*mac).cloned(), Some(*mac), None)),
        Machine::Node(name, net) => {
            let node = snapshot.node(name).cloned().ok_or_else(|| format!("there is no node {name}"))?;
            let of_net = |interface: &&crate::registry::Interface| net.as_ref().is_none_or(|net| interface.net == *net);
            if let Some(net) = net.as_ref().filter(|_| !node.interfaces.iter().any(|interface| of_net(&interface))) {
                return Err(format!("node {name} has no network {net}"));
            }
            let primary = node.primary().filter(of_net);
            let rest = node.interfaces.iter().filter(of_net);
            let mac = primary.into_iter().chain(rest).find_map(|interface| interface.mac.or(interface.port_mac));
            Ok((Some(node), mac, net.clone()))
        }
    }
}
