//! The form of `nodes.yaml`: Warewulf's field names, plus `rack`, `seed`, `swarm`, `on fail`, `root size`, `grubboot` and `boot program`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::merge::Field;
use super::scalar::{List, Text};

/// A map that keeps the order of its keys. `n1:` without a value is a node that says nothing of its own.
pub type Map<V> = IndexMap<String, V>;

/// Declares a part of the file: each field with its key, how it is read, written (not at all if empty) and merged.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $( $(#[$field_doc:meta])* $field:ident: $type:ty = $key:literal $(or $alias:literal)?, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(
                $(#[$field_doc])*
                #[serde(rename = $key, $(alias = $alias,)? deserialize_with = "Field::read", skip_serializing_if = "Field::is_empty")]
                pub $field: $type,
            )*
        }

        impl Field for $name {
            fn merge(&mut self, later: &Self) {
                $( self.$field.merge(&later.$field); )*
            }
            fn is_empty(&self) -> bool {
                true $( && self.$field.is_empty() )*
            }
        }
    };
}

section! {
    /// One network device.
    NetDev {
        /// `ethernet`, `infiniband`, `bond`, ….
        kind: Option<Text> = "type",
        /// Whether the node brings it up.
        on_boot: Option<Text> = "onboot",
        /// Interface name.
        device: Option<Text> = "device",
        /// MAC address.
        hwaddr: Option<Text> = "hwaddr",
        /// IPv4 address.
        ipaddr: Option<Text> = "ipaddr",
        /// IPv4 netmask, dotted or as a prefix length.
        netmask: Option<Text> = "netmask",
        /// IPv4 gateway.
        gateway: Option<Text> = "gateway",
        /// IPv6 address.
        ipaddr6: Option<Text> = "ipaddr6" or "ip6addr",
        /// IPv6 prefix length.
        prefixlen6: Option<Text> = "prefixlen6",
        /// IPv6 gateway.
        gateway6: Option<Text> = "gateway6",
        /// MTU in bytes.
        mtu: Option<Text> = "mtu",
        /// For overlays.
        tags: Map<Text> = "tags",
    }
}

section! {
    /// Kernel choice.
    Kernel {
        /// Release, or the beginning of one.
        version: Option<Text> = "version",
        /// Arguments.
        args: List = "args",
    }
}

section! {
    /// The management controller.
    Ipmi {
        /// User.
        username: Option<Text> = "username",
        /// Password; secret.
        password: Option<Text> = "password",
        /// Address.
        ipaddr: Option<Text> = "ipaddr",
        /// Gateway.
        gateway: Option<Text> = "gateway",
        /// Netmask.
        netmask: Option<Text> = "netmask",
        /// Port.
        port: Option<Text> = "port",
        /// `lan` or `lanplus`.
        interface: Option<Text> = "interface",
        /// Escape character of the console.
        escapechar: Option<Text> = "escapechar",
        /// Whether to write this into the controller.
        write: Option<Text> = "write",
        /// Template of the commands.
        template: Option<Text> = "template",
        /// For templates.
        tags: Map<Text> = "tags",
    }
}

section! {
    /// A partition of a disk.
    Partition {
        /// Number.
        number: Option<Text> = "number",
        /// Size in MiB.
        size_mib: Option<Text> = "size_mib",
        /// Start in MiB.
        start_mib: Option<Text> = "start_mib",
        /// GPT type.
        type_guid: Option<Text> = "type_guid",
        /// GPT partition id.
        guid: Option<Text> = "guid",
        /// Whether to replace one that does not match.
        wipe_partition_entry: Option<Text> = "wipe_partition_entry",
        /// Whether it has to exist.
        should_exist: Option<Text> = "should_exist",
        /// Whether to resize it.
        resize: Option<Text> = "resize",
    }
}

section! {
    /// A disk.
    Disk {
        /// Whether to clear the partition table.
        wipe_table: Option<Text> = "wipe_table",
        /// Partitions by label.
        partitions: Map<Partition> = "partitions",
    }
}

section! {
    /// A file system on a disk.
    FileSystem {
        /// Format.
        format: Option<Text> = "format",
        /// Mount point.
        path: Option<Text> = "path",
        /// Whether to clear it at boot.
        wipe_filesystem: Option<Text> = "wipe_filesystem",
        /// Label.
        label: Option<Text> = "label",
        /// UUID.
        uuid: Option<Text> = "uuid",
        /// Options of mkfs.
        options: List = "options",
        /// Mount options.
        mount_options: List = "mount_options",
    }
}

section! {
    /// What the node takes of links and processors for the swarm.
    SwarmPart {
        /// Most that it gives.
        upload: Option<Text> = "upload",
        /// Most that it takes.
        download: Option<Text> = "download",
        /// Mark of its packets.
        dscp: Option<Text> = "dscp",
        /// Niceness of the agent once the node runs.
        nice: Option<Text> = "nice",
        /// Processors of the agent once the node runs.
        cpus: Option<Text> = "cpus",
    }
}

section! {
    /// A node or a profile.
    Entry {
        /// Profiles it is built from; `~name` takes one out.
        profiles: List = "profiles",
        /// Free text; not inherited.
        comment: Option<Text> = "comment",
        /// Cluster, for people and overlays.
        cluster: Option<Text> = "cluster name",
        /// Nodes only: may be claimed by an unknown machine.
        discoverable: Option<Text> = "discoverable",
        /// Nodes only: asset tag of the chassis.
        asset_key: Option<Text> = "asset key",
        /// `name` or `name@version`.
        image: Option<Text> = "image name",
        /// Boot script template.
        ipxe: Option<Text> = "ipxe template",
        /// Whether UEFI firmware is given shim and GRUB instead of iPXE.
        grub_boot: Option<Text> = "grubboot",
        /// Network boot program, whatever the architecture.
        boot_program: Option<Text> = "boot program",
        /// Runtime overlays.
        runtime_overlays: List = "runtime overlay",
        /// System overlays.
        system_overlays: List = "system overlay",
        /// Kernel choice.
        kernel: Kernel = "kernel",
        /// Management controller.
        ipmi: Ipmi = "ipmi",
        /// Path of init in the image.
        init: Option<Text> = "init",
        /// Root mode.
        root: Option<Text> = "root",
        /// Upper layer of the root in percent of memory.
        root_size: Option<Text> = "root size",
        /// What the agent does when a phase failed.
        on_fail: Option<Text> = "on fail",
        /// How long it serves its image.
        seed: Option<Text> = "seed",
        /// What it takes of links and processors for the swarm.
        swarm: SwarmPart = "swarm",
        /// Rack.
        rack: Option<Text> = "rack",
        /// Groups for `@group` in nodesets; `~name` takes one out.
        groups: List = "groups",
        /// Interfaces by network name.
        network_devices: Map<NetDev> = "network devices",
        /// Name of the network that carries the node's main address.
        primary_network: Option<Text> = "primary network",
        /// For overlays.
        tags: Map<Text> = "tags",
        /// Disks by device.
        disks: Map<Disk> = "disks",
        /// File systems by device.
        filesystems: Map<FileSystem> = "filesystems",
        /// Free-form structures for overlays.
        resources: Map<serde_json::Value> = "resources",
    }
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodesFile {
    /// Profiles by name.
    #[serde(deserialize_with = "Field::read")]
    pub nodeprofiles: Map<Entry>,
    /// Nodes by name.
    #[serde(deserialize_with = "Field::read")]
    pub nodes: Map<Entry>,
}
