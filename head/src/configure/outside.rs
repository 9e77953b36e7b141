//! What another DHCP server has to know to boot nodes from this head. Pure: from configuration, registry and interfaces.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use wulfpack_shared::id::Mac;

use super::{dnsmasq, isc, kea};
use crate::boot::{Arch, BootChoice, BootFile, Client, Nbps};
use crate::config::{AddressRange, Config, SubnetConfig};
use crate::registry::Snapshot;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// ISC dhcpd: a file for `include` in dhcpd.conf.
    Isc,
    /// Kea: a whole kea-dhcp4.conf; where there is one already, its parts belong into it.
    Kea,
    /// dnsmasq: a file for /etc/dnsmasq.d.
    Dnsmasq,
}

/// A network in which nodes boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) net: Ipv4Net,
    /// The head, as machines there reach it.
    pub(super) server: Ipv4Addr,
    /// The head's boot service there, `http://ADDRESS:PORT`.
    pub(super) base: String,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) dns: Vec<Ipv4Addr>,
    pub(super) domain: Option<String>,
    /// For machines that nobody knows, and how long they keep such an address in seconds.
    pub(super) range: Option<(AddressRange, u32)>,
}

impl Network {
    /// Where iPXE finds a machine's script: iPXE itself puts its MAC address in.
    pub(super) fn script(&self) -> String {
        format!("{}/boot/${{mac:hexhyp}}/script.ipxe", self.base)
    }
}

/// A boot program for firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) arch: Arch,
    /// Name for TFTP, or path for HTTP.
    pub(super) file: String,
    pub(super) by_http: bool,
}

/// A machine with an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    /// The name of its entry: one of each interface.
    pub(super) label: String,
    pub(super) mac: Mac,
    pub(super) ip: Ipv4Addr,
    pub(super) gateway: Option<Ipv4Addr>,
    /// Boot programs that differ from those of the others.
    pub(super) own: Vec<Program>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    pub(super) lease: u32,
    pub(super) networks: Vec<Network>,
    pub(super) programs: Vec<Program>,
    pub(super) hosts: Vec<Host>,
}

const NOTHING: BootChoice = BootChoice { grub: None, program: None };

impl Outside {
    /// From the networks of the head's interfaces, with its own addresses in them, and the configured ones behind relays.
    pub fn new(config: &Config, nbps: &Nbps, own: &[Ipv4Net], snapshot: &Snapshot) -> Self {
        let programs = programs(nbps, Mac([0; 6]), &NOTHING);
        let hosts = hosts(config, nbps, snapshot, &programs);
        Self { lease: config.dhcp.lease_seconds, networks: networks(config, own), programs, hosts }
    }

    /// Whether there is a network to speak of.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// In the words of a server.
    pub fn render(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Isc => isc::render(self),
            Dialect::Kea => kea::render(self),
            Dialect::Dnsmasq => dnsmasq::render(self),
        }
    }
}

fn networks(config: &Config, own: &[Ipv4Net]) -> Vec<Network> {
    let configured: BTreeMap<Ipv4Net, SubnetConfig> = config.dhcp.subnets().collect();
    let mut nets: Vec<(Ipv4Net, Option<Ipv4Addr>)> = own.iter().map(|net| (net.trunc(), Some(net.addr()))).collect();
    nets.extend(
        configured.keys().filter(|net| !own.iter().any(|known| known.trunc() == **net)).map(|net| (*net, None)),
    );
    nets.sort_unstable();
    nets.dedup_by_key(|(net, _)| *net);
    let first = own.first().map(Ipv4Net::addr);
    let network = |(net, server): (Ipv4Net, Option<Ipv4Addr>)| {
        let server = server.or(first)?;
        let settings = configured.get(&net).cloned().unwrap_or_default();
        let four = |ip: &IpAddr| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None };
        let dns = if settings.dns.is_empty() { config.dns.iter().filter_map(four).collect() } else { settings.dns };
        let domain = if settings.domain.is_empty() { config.domain.clone() } else { settings.domain };
        Some(Network {
            net,
            server,
            base: format!("http://{server}:{}", config.ports.http),
            gateway: settings.gateway,
            dns,
            domain: (!domain.is_empty()).then_some(domain),
            range: settings.range.map(|range| (range, settings.range_lease_seconds)),
        })
    };
    nets.into_iter().filter_map(network).collect()
}

/// What firmware of each architecture loads, as far as this head has it.
fn programs(nbps: &Nbps, mac: Mac, choice: &BootChoice) -> Vec<Program> {
    let of = |arch: Arch| {
        let client = if arch.loads_by_http() { Client::HttpBoot(arch.0) } else { Client::Pxe(arch.0) };
        match nbps.boot_file(client, mac, choice, false) {
            BootFile::Nbp(file) => Some(Program { arch, file, by_http: false }),
            BootFile::Http(file) => Some(Program { arch, file, by_http: true }),
            BootFile::Script | BootFile::None(_) => None,
        }
    };
    // What names the machine in its path is not for everybody.
    let everybody = |program: &Program| *choice != NOTHING || !program.file.contains(&mac.dashed());
    Arch::all().filter_map(of).filter(everybody).collect()
}

fn hosts(config: &Config, nbps: &Nbps, snapshot: &Snapshot, common: &[Program]) -> Vec<Host> {
    let mut hosts = vec![];
    for node in snapshot.nodes() {
        for (index, interface) in node.interfaces.iter().enumerate() {
            let (Some(mac), Some(IpAddr::V4(ip))) = (interface.mac, interface.ip) else { continue };
            let primary = node.primary == Some(index);
            let name = if primary { node.name.to_string() } else { format!("{}-{}", node.name, interface.net) };
            let gateway = if let Some(IpAddr::V4(gateway)) = interface.gateway { Some(gateway) } else { None };
            // Secure Boot's path has the machine's address in it, so that the question is asked for each.
            let mut own = programs(nbps, mac, &BootChoice { grub: node.boot.grub, ..node.boot.clone() });
            own.retain(|program| !common.contains(program));
            hosts.push(Host { label: format!("{}-{}", node.name, interface.net), name, mac, ip, gateway, own });
        }
    }
    for (name, device) in &config.dhcp.reservations {
        let Some(mac) = device.hwaddr else { continue };
        let (name, label) = (name.to_string(), format!("device-{name}"));
        hosts.push(Host { name, label, mac, ip: device.ipaddr, gateway: device.gateway, own: vec![] });
    }
    hosts
}

/// What the head must be told so that it does not answer as well; the head of every file.
pub(super) const REMARK: [&str; 6] = [
    "Written by `wulf configure dhcp`: another server gives addresses, and points machines to the Wulfpack head.",
    "Nodes are listed: write this again after nodes were added or have another address, and reload the server.",
    "The head itself must not answer, and must give boot programs and tokens all the same, in wulfpack.yaml:",
    "  interfaces:",
    "    eth1: {dhcp: false, tftp: true, token: neighbour}",
    "Nothing here is needed with `dhcp: mode: proxy`, where the head adds what to boot by itself.",
];
