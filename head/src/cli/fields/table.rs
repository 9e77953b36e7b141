//! Every field of the registry that a flag can set.

use crate::registry::{Disk, Entry, FileSystem, Ipmi, List, NetDev, Partition, Text};

/// Where a field lies.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In the entry itself.
    Text(fn(&mut Entry) -> &mut Option<Text>),
    /// A list in the entry, separated by commas.
    List(fn(&mut Entry) -> &mut List),
    /// The same, separated by blanks, because a comma is part of many items.
    Words(fn(&mut Entry) -> &mut List),
    /// In the network that `--netname` names.
    Net(fn(&mut NetDev) -> &mut Option<Text>),
    /// In the management controller.
    Ipmi(fn(&mut Ipmi) -> &mut Option<Text>),
    /// In the disk that `--diskname` names.
    Disk(fn(&mut Disk) -> &mut Option<Text>),
    /// In the partition that `--partname` names.
    Part(fn(&mut Partition) -> &mut Option<Text>),
    /// In the file system that `--fsname` names.
    Fs(fn(&mut FileSystem) -> &mut Option<Text>),
    /// A list in it.
    FsList(fn(&mut FileSystem) -> &mut List),
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// true or false; the flag alone means true.
    Bool,
    /// An address, which counts up over several nodes.
    Counting,
    /// An address that only one node can have.
    Unique,
    /// Not for command lines: `-` asks for it, `@FILE` reads it.
    Secret,
}

/// One field.
pub(super) struct Field {
    pub(super) flag: &'static str,
    pub(super) short: Option<char>,
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// Whether profiles do not have it.
    pub(super) node_only: bool,
    pub(super) place: Place,
}

const fn field(flag: &'static str, value: &'static str, place: Place, help: &'static str) -> Field {
    Field { flag, short: None, value, help, kind: Kind::Text, node_only: false, place }
}

impl Field {
    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }
    const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
    const fn of_nodes(mut self) -> Self {
        self.node_only = true;
        self
    }
}

/// All of them, in the order of the help.
pub(super) const FIELDS: &[Field] = &[
    field("profile", "PROFILE,…", Place::List(|e| &mut e.profiles), "Profiles, in order; ~name takes one out")
        .short('P'),
    field("comment", "TEXT", Place::Text(|e| &mut e.comment), "Free text"),
    field("cluster", "NAME", Place::Text(|e| &mut e.cluster), "Cluster, for people and overlays").short('c'),
    field("groups", "GROUP,…", Place::List(|e| &mut e.groups), "Groups, for @group in nodesets; ~name takes one out"),
    field("image", "NAME[@ID]", Place::Text(|e| &mut e.image), "Image, or one version of it"),
    field("ipxe", "NAME", Place::Text(|e| &mut e.ipxe), "Boot script template: default, localdisk, discover or shell"),
    field(
        "grubboot",
        "BOOL",
        Place::Text(|e| &mut e.grub_boot),
        "Shim and GRUB instead of iPXE, which Secure Boot wants",
    )
    .kind(Kind::Bool),
    field(
        "bootprogram",
        "FILE",
        Place::Text(|e| &mut e.boot_program),
        "Network boot program, whatever the architecture",
    ),
    field("runtime-overlays", "NAME,…", Place::List(|e| &mut e.runtime_overlays), "Runtime overlays, in order")
        .short('R'),
    field("system-overlays", "NAME,…", Place::List(|e| &mut e.system_overlays), "System overlays, in order").short('O'),
    field(
        "kernelversion",
        "RELEASE",
        Place::Text(|e| &mut e.kernel.version),
        "Kernel release, or the beginning of one",
    ),
    field(
        "kernelargs",
        "ARGS",
        Place::Words(|e| &mut e.kernel.args),
        "Kernel arguments, separated by blanks (a comma is part of many); ~arg takes an inherited one out",
    )
    .short('A'),
    field("init", "PATH", Place::Text(|e| &mut e.init), "Path of init in the image").short('i'),
    field("root", "MODE", Place::Text(|e| &mut e.root), "Root mode: overlay or tmpfs"),
    field("rootsize", "PERCENT", Place::Text(|e| &mut e.root_size), "Upper layer of the root in percent of memory"),
    field(
        "onfail",
        "ACTION",
        Place::Text(|e| &mut e.on_fail),
        "What a node does when its boot fails: retry, reboot or poweroff",
    ),
    field(
        "seed",
        "TIME",
        Place::Text(|e| &mut e.seed),
        "How long it serves its image: seconds, 10m, 2h, always or never",
    ),
    field("upload", "RATE", Place::Text(|e| &mut e.swarm.upload), "Most that it gives to the swarm: 200mbit, or none"),
    field("download", "RATE", Place::Text(|e| &mut e.swarm.download), "Most that it takes from the swarm"),
    field(
        "dscp",
        "CODEPOINT",
        Place::Text(|e| &mut e.swarm.dscp),
        "Mark of its packets in the swarm: le, cs1, …, 0 to 63",
    ),
    field("nice", "N", Place::Text(|e| &mut e.swarm.nice), "Niceness of its agent once it runs, 0 to 19"),
    field("cpus", "LIST", Place::Text(|e| &mut e.swarm.cpus), "Processors of its agent once it runs: 0-3,8, or all"),
    field("rack", "NAME", Place::Text(|e| &mut e.rack), "Rack: whatever shares an uplink"),
    field("primarynet", "NET", Place::Text(|e| &mut e.primary_network), "Network that carries the main address")
        .short('p'),
    field("asset", "TAG", Place::Text(|e| &mut e.asset_key), "Asset tag that the machine's chassis has to show")
        .of_nodes(),
    field("discoverable", "BOOL", Place::Text(|e| &mut e.discoverable), "Whether an unknown machine may become it")
        .short('e')
        .kind(Kind::Bool)
        .of_nodes(),
    // The management controller.
    field("ipmiuser", "NAME", Place::Ipmi(|i| &mut i.username), "User of the management controller"),
    field(
        "ipmipass",
        "-|@FILE",
        Place::Ipmi(|i| &mut i.password),
        "Its password: - asks for it or reads standard input, @FILE reads a file",
    )
    .kind(Kind::Secret),
    field(
        "ipmiaddr",
        "IP",
        Place::Ipmi(|i| &mut i.ipaddr),
        "Its address; for several nodes the first one's, counting up",
    )
    .kind(Kind::Counting),
    field("ipminetmask", "MASK", Place::Ipmi(|i| &mut i.netmask), "Its netmask"),
    field("ipmigateway", "IP", Place::Ipmi(|i| &mut i.gateway), "Its gateway"),
    field("ipmiport", "PORT", Place::Ipmi(|i| &mut i.port), "Its port"),
    field("ipmiinterface", "NAME", Place::Ipmi(|i| &mut i.interface), "Its protocol: lan or lanplus"),
    field("ipmiescapechar", "CHAR", Place::Ipmi(|i| &mut i.escapechar), "Escape character of its console"),
    field("ipmiwrite", "BOOL", Place::Ipmi(|i| &mut i.write), "Whether the node writes these into its controller")
        .kind(Kind::Bool),
    field("ipmitemplate", "NAME", Place::Ipmi(|i| &mut i.template), "Template of its commands"),
    // One network.
    field("type", "TYPE", Place::Net(|n| &mut n.kind), "ethernet, infiniband, bond, vlan, …").short('T'),
    field("onboot", "BOOL", Place::Net(|n| &mut n.on_boot), "Whether the node brings it up").kind(Kind::Bool),
    field("netdev", "DEVICE", Place::Net(|n| &mut n.device), "Interface name").short('N'),
    field("hwaddr", "MAC", Place::Net(|n| &mut n.hwaddr), "MAC address").short('H').kind(Kind::Unique),
    field(
        "ipaddr",
        "IP",
        Place::Net(|n| &mut n.ipaddr),
        "IPv4 address; for several nodes the first one's, counting up",
    )
    .short('I')
    .kind(Kind::Counting),
    field("netmask", "MASK", Place::Net(|n| &mut n.netmask), "IPv4 netmask").short('M'),
    field("gateway", "IP", Place::Net(|n| &mut n.gateway), "IPv4 gateway").short('G'),
    field(
        "ipaddr6",
        "IP",
        Place::Net(|n| &mut n.ipaddr6),
        "IPv6 address; for several nodes the first one's, counting up",
    )
    .kind(Kind::Counting),
    field("prefixlen6", "BITS", Place::Net(|n| &mut n.prefixlen6), "IPv6 prefix length"),
    field("gateway6", "IP", Place::Net(|n| &mut n.gateway6), "IPv6 gateway"),
    field("mtu", "BYTES", Place::Net(|n| &mut n.mtu), "MTU in bytes"),
    // One disk, one of its partitions, one file system.
    field("diskwipe", "BOOL", Place::Disk(|d| &mut d.wipe_table), "Whether its partition table is cleared")
        .kind(Kind::Bool),
    field("partnumber", "N", Place::Part(|p| &mut p.number), "Number of the partition"),
    field("partsize", "MIB", Place::Part(|p| &mut p.size_mib), "Its size in MiB"),
    field("partstart", "MIB", Place::Part(|p| &mut p.start_mib), "Its start in MiB"),
    field("parttype", "GUID", Place::Part(|p| &mut p.type_guid), "Its GPT type"),
    field("partguid", "GUID", Place::Part(|p| &mut p.guid), "Its GPT id"),
    field(
        "partwipe",
        "BOOL",
        Place::Part(|p| &mut p.wipe_partition_entry),
        "Whether one that does not match is replaced",
    )
    .kind(Kind::Bool),
    field("partcreate", "BOOL", Place::Part(|p| &mut p.should_exist), "Whether it has to exist").kind(Kind::Bool),
    field("partresize", "BOOL", Place::Part(|p| &mut p.resize), "Whether it is resized").kind(Kind::Bool),
    field("fsformat", "NAME", Place::Fs(|f| &mut f.format), "Format of the file system"),
    field("fspath", "PATH", Place::Fs(|f| &mut f.path), "Where it is mounted"),
    field("fswipe", "BOOL", Place::Fs(|f| &mut f.wipe_filesystem), "Whether it is made anew at boot").kind(Kind::Bool),
    field("fslabel", "LABEL", Place::Fs(|f| &mut f.label), "Its label"),
    field("fsuuid", "UUID", Place::Fs(|f| &mut f.uuid), "Its UUID"),
    field("fsoptions", "OPTION,…", Place::FsList(|f| &mut f.options), "Options of mkfs"),
    field("fsmountoptions", "OPTION,…", Place::FsList(|f| &mut f.mount_options), "Mount options"),
];

/// Flags that add to a map: `KEY=VALUE`; and those that take out of it: `KEY`.
pub(super) const TAGS: [(&str, &str, &str, &str); 3] = [
    ("tagadd", "tagdel", "tag", "a tag"),
    ("nettagadd", "nettagdel", "nettag", "a tag of the network"),
    ("ipmitagadd", "ipmitagdel", "ipmitag", "a tag of the management controller"),
];

/// Flags that choose what others are about: name, what it is without the flag, value, help.
pub(super) const SELECTORS: [(&str, Option<&str>, &str, &str); 4] = [
    ("netname", Some("default"), "NET", "Network that the network flags are about"),
    ("diskname", None, "DEVICE", "Disk that the disk and partition flags are about"),
    ("partname", None, "LABEL", "Partition that the partition flags are about"),
    ("fsname", None, "DEVICE", "File system that the file system flags are about"),
];

/// Flags that take a whole part out.
pub(super) const PARTS: [(&str, &str); 4] = [
    ("netdel", "a network"),
    ("diskdel", "a disk"),
    ("partdel", "a partition of the disk"),
    ("fsdel", "a file system"),
];

/// A list of an entry.
pub(super) type ListOf = fn(&mut Entry) -> &mut List;

/// Lists to which single items can be added, and from which they can be taken.
pub(super) const ITEMS: [(&str, &str, ListOf); 2] =
    [("profileadd", "profiledel", |e| &mut e.profiles), ("groupadd", "groupdel", |e| &mut e.groups)];
