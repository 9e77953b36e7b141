//! From the file to the snapshot: merges, gives types, and checks what only shows when all nodes are seen together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wulfpack_shared::id::{Mac, NodeName, ProfileName};
use wulfpack_shared::manners::Manners;
use wulfpack_shared::wire::{OnFail, RootMode, SeedPolicy};

use super::disks::{controller, disks, filesystems};
use super::file::{Entry, NetDev, NodesFile, SwarmPart};
use super::merge::{Field as _, merge_node};
use super::problem::{Problem, Problems};
use super::racks::RackRule;
use super::reader::Reader;
use super::resolved::{Interface, Node, Snapshot};
use super::scalar::{List, Text};
use crate::boot::BootChoice;
use crate::config::{Config, Seed, yaml};

/// What a node gets where neither it nor a profile says anything.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// How long it serves its image.
    pub seed: SeedPolicy,
    /// What it takes of links and processors for the swarm.
    pub manners: Manners,
    /// Where its rack is read from.
    pub racks: RackRule,
}

impl From<&Config> for Defaults {
    fn from(config: &Config) -> Self {
        Self { seed: config.seed.0, manners: config.swarm.manners(), racks: RackRule::of(&config.racks) }
    }
}

/// What became of a file.
#[derive(Debug)]
pub(super) struct Resolved {
    /// All nodes; what cannot be used is left out of them.
    pub(super) snapshot: Snapshot,
    /// What cannot be used.
    pub(super) errors: Problems,
    /// What is odd, but works.
    pub(super) warnings: Vec<Problem>,
}

/// All nodes.
pub(super) fn resolve(file: &NodesFile, defaults: &Defaults) -> Resolved {
    let (mut errors, mut warnings, mut nodes) = (vec![], vec![], vec![]);
    for (name, entry) in &file.nodeprofiles {
        let mut reader = Reader::new(format!("profile {name}"));
        check_profile(&mut reader, file, name, entry);
        errors.append(&mut reader.errors);
        warnings.append(&mut reader.warnings);
    }
    let mut taken = Taken::default();
    for (name, entry) in &file.nodes {
        let mut reader = Reader::new(format!("node {name}"));
        check_profile_names(&mut reader, file, &entry.profiles);
        let (merged, profiles) = merge_node(file, entry);
        taken.check(&mut reader, name, &merged);
        match name.parse::<NodeName>() {
            Ok(name) => nodes.push(node(&mut reader, name, &merged, profiles, defaults)),
            Err(error) => reader.refuse("name", 0, error),
        }
        errors.append(&mut reader.errors);
        warnings.append(&mut reader.warnings);
    }
    once_per_line(&mut errors);
    once_per_line(&mut warnings);
    let snapshot = Snapshot::new(nodes).with_newcomer(newcomer(file, defaults));
    Resolved { snapshot, errors: Problems(errors), warnings }
}

/// The node that `wulf node add NAME` makes.
fn newcomer(file: &NodesFile, defaults: &Defaults) -> Option<Node> {
    let name = "newcomer".parse().ok()?;
    let entry = Entry { profiles: ["default"].into_iter().collect(), ..Entry::default() };
    let (merged, profiles) = file.nodeprofiles.contains_key("default").then(|| merge_node(file, &entry))?;
    // What is wrong with the profile is told elsewhere.
    Some(node(&mut Reader::new(String::new()), name, &merged, profiles, defaults))
}

/// A profile's mistake shows in each node that has the profile; it is told once.
fn once_per_line(problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    problems.retain(|problem| problem.line.is_none_or(|line| seen.insert((line, problem.what.clone()))));
}

fn check_profile(reader: &mut Reader, file: &NodesFile, name: &str, entry: &Entry) {
    if let Err(error) = name.parse::<ProfileName>() {
        reader.refuse("name", 0, error);
    }
    check_profile_names(reader, file, &entry.profiles);
    for (field, text) in [("discoverable", &entry.discoverable), ("asset key", &entry.asset_key)] {
        if let Some(text) = text {
            reader.refuse(field, text.line(), "only a node can have this; move it there");
        }
    }
    for (net, device) in &entry.network_devices {
        for (field, text) in [("hwaddr", &device.hwaddr), ("ipaddr", &device.ipaddr), ("ipaddr6", &device.ipaddr6)] {
            if let Some(text) = text {
                let place = format!("network devices: {net}: {field}");
                reader.warn(&place, text.line(), "two nodes with this profile would have the same; set it per node");
            }
        }
    }
    // Whatever name it has, its fields have to make sense.
    if let Ok(name) = "profile".parse() {
        let mut entry = entry.clone();
        entry.primary_network = None;
        entry.network_devices.values_mut().for_each(|device| device.ipaddr = None);
        node(reader, name, &entry, vec![], &Defaults::default());
    }
}

fn check_profile_names(reader: &mut Reader, file: &NodesFile, profiles: &List) {
    for text in &profiles.0 {
        let name = text.as_str().trim_start_matches('~');
        if !file.nodeprofiles.contains_key(name) {
            let known: Vec<&str> = file.nodeprofiles.keys().map(String::as_str).collect();
            reader.refuse(
                "profiles",
                text.line(),
                yaml::unknown(&format!("there is no profile {name:?}"), name, &known),
            );
        }
    }
}

/// Addresses that a node before this one has.
#[derive(Default)]
struct Taken {
    macs: BTreeMap<Mac, (String, u64)>,
    ips: BTreeMap<IpAddr, (String, u64)>,
}

impl Taken {
    fn check(&mut self, reader: &mut Reader, node: &str, entry: &Entry) {
        for (net, device) in &entry.network_devices {
            if let Some(text) = &device.hwaddr
                && let Ok(mac) = text.as_str().parse()
            {
                claim(&mut self.macs, mac, reader, (node, net, "hwaddr"), text);
            }
            for (field, text) in [("ipaddr", &device.ipaddr), ("ipaddr6", &device.ipaddr6)] {
                if let Some(text) = text
                    && let Ok(ip) = text.as_str().parse()
                {
                    claim(&mut self.ips, ip, reader, (node, net, field), text);
                }
            }
        }
    }
}

fn claim<K: Ord + Copy + std::fmt::Display>(
    taken: &mut BTreeMap<K, (String, u64)>,
    key: K,
    reader: &mut Reader,
    (node, net, field): (&str, &str, &str),
    text: &Text,
) {
    match taken.get(&key) {
        None => drop(taken.insert(key, (format!("{node} ({net})"), text.line()))),
        Some((owner, line)) => {
            let place = format!("network devices: {net}: {field}");
            let what = format!("{key} already belongs to {owner}; each address has one owner");
            reader.refuse_with(&place, text.line(), what, *line);
        }
    }
}

fn node(reader: &mut Reader, name: NodeName, entry: &Entry, profiles: Vec<String>, defaults: &Defaults) -> Node {
    let tags = tags(&entry.tags);
    let rack = reader.parse("rack", entry.rack.as_ref()).or_else(|| defaults.racks.find(&name, &tags));
    let mut interfaces: Vec<Interface> = entry
        .network_devices
        .iter()
        .map(|(net, device)| {
            reader.within("network devices", |reader| reader.within(net, |reader| interface(reader, net, device)))
        })
        .collect();
    interfaces.sort_by(|a, b| a.net.cmp(&b.net));
    Node {
        name,
        comment: entry.comment.as_ref().map(ToString::to_string),
        cluster: reader.text("cluster name", entry.cluster.as_ref()),
        profiles,
        image: reader.parse("image name", entry.image.as_ref()),
        kernel_version: reader.text("kernel: version", entry.kernel.version.as_ref()),
        kernel_args: reader.parse_list("kernel: args", &entry.kernel.args),
        init: init(reader, entry.init.as_ref()),
        root: root(reader, entry.root.as_ref()),
        root_percent: root_percent(reader, entry.root_size.as_ref()),
        on_fail: on_fail(reader, entry.on_fail.as_ref()),
        seed: reader.parse::<Seed>("seed", entry.seed.as_ref()).map_or(defaults.seed, |seed| seed.0),
        manners: reader.within("swarm", |reader| manners(reader, &entry.swarm, &defaults.manners)),
        rack,
        boot: boot(reader, entry),
        system_overlays: reader.parse_list("system overlay", &entry.system_overlays),
        runtime_overlays: reader.parse_list("runtime overlay", &entry.runtime_overlays),
        groups: groups(reader, &entry.groups),
        ipxe: reader.parse::<ProfileName>("ipxe template", entry.ipxe.as_ref()).map(|name| name.to_string()),
        discoverable: reader.boolean("discoverable", entry.discoverable.as_ref()).unwrap_or(false),
        asset_key: reader.text("asset key", entry.asset_key.as_ref()),
        ipmi: reader.within("ipmi", |reader| controller(reader, &entry.ipmi)),
        disks: disks(reader, entry),
        filesystems: filesystems(reader, entry),
        primary: primary(reader, entry.primary_network.as_ref(), &interfaces),
        interfaces,
        tags,
        resources: entry.resources.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}

pub(super) fn tags(tags: &super::file::Map<Text>) -> BTreeMap<String, String> {
    tags.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
}

fn manners(reader: &mut Reader, part: &SwarmPart, defaults: &Manners) -> Manners {
    Manners {
        upload: reader.parse("upload", part.upload.as_ref()).unwrap_or(defaults.upload),
        download: reader.parse("download", part.download.as_ref()).unwrap_or(defaults.download),
        dscp: reader.parse("dscp", part.dscp.as_ref()).unwrap_or(defaults.dscp),
        nice: reader.parse("nice", part.nice.as_ref()).unwrap_or(defaults.nice),
        cpus: reader.parse("cpus", part.cpus.as_ref()).unwrap_or(defaults.cpus),
    }
}

/// Each once: a node may have one from several profiles.
fn groups(reader: &mut Reader, list: &List) -> Vec<String> {
    let mut groups: Vec<String> = vec![];
    for name in reader.parse_list::<ProfileName>("groups", list) {
        if !groups.contains(&name.to_string()) {
            groups.push(name.to_string());
        }
    }
    groups
}

fn boot(reader: &mut Reader, entry: &Entry) -> BootChoice {
    BootChoice {
        grub: reader.boolean("grubboot", entry.grub_boot.as_ref()),
        program: reader.text("boot program", entry.boot_program.as_ref()),
    }
}

fn init(reader: &mut Reader, text: Option<&Text>) -> String {
    let init = reader.text("init", text).unwrap_or_else(|| "/sbin/init".into());
    if !init.starts_with('/') || init.contains(char::is_whitespace) {
        reader.refuse("init", text.map_or(0, Text::line), format!("{init:?} is not an absolute path"));
    }
    init
}

fn root(reader: &mut Reader, text: Option<&Text>) -> RootMode {
    match text.map(Text::as_str) {
        // Warewulf unpacks into its initramfs or a ramfs; both say no more than "in memory".
        Some("initramfs" | "ramfs") => RootMode::Overlay,
        Some(device) if device.starts_with("/dev/") => {
            let line = text.map_or(0, Text::line);
            reader.warn(
                "root",
                line,
                format!("a root on {device} is not possible yet; the node boots with root: overlay"),
            );
            RootMode::Overlay
        }
        _ => {
            let words = [("overlay", RootMode::Overlay), ("tmpfs", RootMode::Tmpfs)];
            reader.word("root", text, &words).unwrap_or_default()
        }
    }
}

fn root_percent(reader: &mut Reader, text: Option<&Text>) -> u8 {
    const DEFAULT: u8 = 25;
    let Some(size) = reader.text("root size", text) else { return DEFAULT };
    match size.trim_end_matches('%').parse() {
        Ok(percent @ 1..=90) => percent,
        _ => {
            let line = text.map_or(0, Text::line);
            reader.refuse("root size", line, format!("{size:?} is not a share of the memory from 1% to 90%"));
            DEFAULT
        }
    }
}

fn on_fail(reader: &mut Reader, text: Option<&Text>) -> OnFail {
    let words = [("retry", OnFail::Retry), ("reboot", OnFail::Reboot), ("poweroff", OnFail::Poweroff)];
    reader.word("on fail", text, &words).unwrap_or_default()
}

/// `primary network`, else the first by name.
fn primary(reader: &mut Reader, text: Option<&Text>, interfaces: &[Interface]) -> Option<usize> {
    let Some(net) = reader.text("primary network", text) else { return (!interfaces.is_empty()).then_some(0) };
    let found = interfaces.iter().position(|interface| interface.net == net);
    if found.is_none() {
        let known: Vec<&str> = interfaces.iter().map(|interface| interface.net.as_str()).collect();
        let what = yaml::unknown(&format!("there is no network {net:?} under `network devices`"), &net, &known);
        reader.refuse("primary network", text.map_or(0, Text::line), what);
    }
    found
}

fn interface(reader: &mut Reader, net: &str, device: &NetDev) -> Interface {
    // It becomes part of file names.
    if net.parse::<ProfileName>().is_err() {
        reader.refuse(
            "name",
            0,
            "a network name has letters, digits, '-', '_' and '.' only, and begins with a letter or digit",
        );
    }
    // Warewulf does not care how it is written.
    let kind = reader.text("type", device.kind.as_ref()).map(|kind| kind.to_ascii_lowercase());
    // Addresses of InfiniBand have 20 bytes; such an interface is known by its name only.
    let ethernet = kind.as_deref().is_none_or(|kind| kind != "infiniband");
    let ip = reader.ipv4("ipaddr", device.ipaddr.as_ref());
    let prefix = reader.netmask("netmask", device.netmask.as_ref());
    let ip6 = reader.ipv6("ipaddr6", device.ipaddr6.as_ref());
    let prefix6 = reader.parse("prefixlen6", device.prefixlen6.as_ref()).filter(|prefix| *prefix <= 128);
    for (field, missing, text) in [
        ("ipaddr", ip.is_some() && device.netmask.is_empty(), device.ipaddr.as_ref()),
        ("ipaddr6", ip6.is_some() && device.prefixlen6.is_empty(), device.ipaddr6.as_ref()),
    ] {
        if missing {
            let line = text.map_or(0, Text::line);
            reader.warn(field, line, "an address without a netmask is not used; the node asks by DHCP");
        }
    }
    Interface {
        net: net.to_owned(),
        device: device_name(reader, device.device.as_ref()),
        mac: if ethernet { reader.parse("hwaddr", device.hwaddr.as_ref()) } else { None },
        port_mac: if ethernet { None } else { device.hwaddr.as_ref().and_then(|text| port_mac(text.as_str())) },
        kind,
        ip,
        prefix,
        gateway: reader.ipv4("gateway", device.gateway.as_ref()),
        ip6,
        prefix6,
        gateway6: reader.ipv6("gateway6", device.gateway6.as_ref()),
        mtu: reader.parse("mtu", device.mtu.as_ref()),
        on_boot: reader.boolean("onboot", device.on_boot.as_ref()).unwrap_or(true),
        tags: tags(&device.tags),
    }
}

/// The MAC address that belongs to a GUID, which is the whole or the end of an InfiniBand port's address.
fn port_mac(text: &str) -> Option<Mac> {
    let bytes = crate::config::hex(text)?;
    let [a, b, c, _, _, d, e, f] = bytes.last_chunk::<8>()?;
    Some(Mac([*a & 0xfe, *b, *c, *d, *e, *f]))
}

/// What the kernel accepts as an interface name (net/core/dev.c, `dev_valid_name`).
fn device_name(reader: &mut Reader, text: Option<&Text>) -> Option<String> {
    let name = reader.text("device", text)?;
    if name.len() > 15 || name == "." || name == ".." || name.contains(['/', ':', ' ', '%']) {
        let line = text.map_or(0, Text::line);
        reader.refuse("device", line, format!("{name:?} is not a name that the kernel gives a network interface"));
        return None;
    }
    Some(name)
}
