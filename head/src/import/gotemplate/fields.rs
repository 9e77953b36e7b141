//! What Warewulf's names are called here, by the kind of thing that they are of.

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// What templates begin with: the node, and what surrounds it.
    Root,
    Node,
    Kernel,
    Ipmi,
    Net,
    Disk,
    Partition,
    FileSystem,
    /// The networks of a node: a map in Warewulf, a list here.
    Nets,
    /// A map by name.
    Map(Box<Self>),
    List(Box<Self>),
    /// A text that may be missing.
    Text,
    /// True or false; printed as Go does.
    Bool,
    /// A number, anything from `resources`.
    Value,
}

/// A field: the expression that stands for it, with `{}` for what it is a field of, and its type.
pub(super) fn field(of: &Type, name: &str) -> Result<(&'static str, Type), String> {
    let found = match of {
        Type::Root => return root(name),
        Type::Node | Type::Kernel => node(of, name),
        Type::Ipmi => controller(name),
        Type::Net => network(name),
        Type::Disk | Type::Partition | Type::FileSystem => storage(of, name),
        // Tri-state booleans are two-state here; asking them is no more than saying them.
        Type::Bool | Type::Value if name.starts_with("Bool") => Some(("{}", Type::Bool)),
        _ => None,
    };
    match (of, name) {
        (Type::Ipmi, "Password") => Err(".Ipmi.Password is a secret, which templates here do not see".into()),
        (Type::Net | Type::Ipmi, "Netmask") => {
            Err(format!(".{name} is kept as a prefix length here; use IpCIDR or `prefix`"))
        }
        _ => found.ok_or_else(|| format!("there is no .{name} here")),
    }
}

fn map(of: Type) -> Type {
    Type::Map(Box::new(of))
}

fn list(of: Type) -> Type {
    Type::List(Box::new(of))
}

fn root(name: &str) -> Result<(&'static str, Type), String> {
    Ok(match name {
        "ThisNode" => ("node", Type::Node),
        "AllNodes" => ("nodes", list(Type::Node)),
        "Ipaddr" => ("cluster.heads[0]", Type::Text),
        "Overlay" => ("overlay", Type::Text),
        "BuildTime" | "BuildTimeUnix" | "BuildHost" | "BuildSource" => {
            return Err(format!(".{name} differs at each rendering; our files are the same each time"));
        }
        "Nfs" | "Dhcp" | "Warewulf" | "Tftp" | "Paths" | "Ssh" | "Netmask" | "Network" | "NetworkCIDR" => {
            return Err(format!(
                ".{name} is of warewulf.conf, which templates here do not see; write the value itself"
            ));
        }
        _ => return field(&Type::Node, name),
    })
}

fn node(of: &Type, name: &str) -> Option<(&'static str, Type)> {
    use Type::{Disk, FileSystem, Ipmi, Kernel, Nets, Text, Value};
    Some(match (of, name) {
        (Kernel, "Args") => ("{}.kernel_args", list(Text)),
        (Kernel, "Version") => ("{}.kernel_version", Text),
        (Kernel, _) => return None,
        (_, "Id" | "Hostname" | "NodeName" | "Name") => ("{}.name", Text),
        (_, "Comment") => ("{}.comment", Text),
        (_, "ClusterName") => ("{}.cluster", Text),
        (_, "ImageName" | "ContainerName" | "Container") => ("{}.image", Text),
        (_, "Ipxe") => ("{}.ipxe", Text),
        (_, "Init") => ("{}.init", Text),
        (_, "AssetKey") => ("{}.asset_key", Text),
        (_, "Profiles") => ("{}.profiles", list(Text)),
        (_, "RuntimeOverlay") => ("{}.runtime_overlays", list(Text)),
        (_, "SystemOverlay") => ("{}.system_overlays", list(Text)),
        (_, "Kernel") => ("{}", Kernel),
        (_, "Tags") => ("{}.tags", map(Text)),
        (_, "NetDevs") => ("{}.interfaces", Nets),
        (_, "Disks") => ("{}.disks", map(Disk)),
        (_, "FileSystems") => ("{}.filesystems", map(FileSystem)),
        (_, "Resources") => ("{}.resources", map(Value)),
        (_, "Ipmi") => ("{}.ipmi", Ipmi),
        _ => return None,
    })
}

fn controller(name: &str) -> Option<(&'static str, Type)> {
    use Type::{Bool, Text};
    Some(match name {
        "UserName" => ("{}.username", Text),
        "Ipaddr" => ("{}.ip", Text),
        "Gateway" => ("{}.gateway", Text),
        "Port" => ("{}.port", Text),
        "Interface" => ("{}.interface", Text),
        "EscapeChar" => ("{}.escapechar", Text),
        "Write" => ("{}.write", Bool),
        "Template" => ("{}.template", Text),
        "Tags" => ("{}.tags", map(Text)),
        _ => return None,
    })
}

fn network(name: &str) -> Option<(&'static str, Type)> {
    use Type::{Bool, Text};
    Some(match name {
        "Device" => ("{}.device", Text),
        "Type" => ("{}.kind", Text),
        "Hwaddr" => ("{}.mac", Text),
        "Ipaddr" => ("{}.ip", Text),
        "IpCIDR" => ("({}.ip ~ \"/\" ~ {}.prefix if {}.ip and {}.prefix else \"\")", Text),
        "Gateway" => ("{}.gateway", Text),
        "Ipaddr6" => ("{}.ip6", Text),
        "PrefixLen6" => ("{}.prefix6", Text),
        "IpCIDR6" => ("({}.ip6 ~ \"/\" ~ {}.prefix6 if {}.ip6 and {}.prefix6 else \"\")", Text),
        "Gateway6" => ("{}.gateway6", Text),
        "MTU" => ("{}.mtu", Text),
        "OnBoot" => ("{}.on_boot", Bool),
        "Primary" => ("{}.primary", Bool),
        "Tags" => ("{}.tags", map(Text)),
        _ => return None,
    })
}

fn storage(of: &Type, name: &str) -> Option<(&'static str, Type)> {
    use Type::{Bool, Disk, FileSystem, Partition, Text};
    Some(match (of, name) {
        (Disk, "WipeTable") => ("{}.wipe_table", Bool),
        (Disk, "Partitions") => ("{}.partitions", map(Partition)),
        (Partition, "Number") => ("{}.number", Text),
        (Partition, "SizeMiB") => ("{}.size_mib", Text),
        (Partition, "StartMiB") => ("{}.start_mib", Text),
        (Partition, "TypeGuid") => ("{}.type_guid", Text),
        (Partition, "Guid") => ("{}.guid", Text),
        (Partition, "WipePartitionEntry") => ("{}.wipe_partition_entry", Bool),
        (Partition, "ShouldExist") => ("{}.should_exist", Bool),
        (Partition, "Resize") => ("{}.resize", Bool),
        (FileSystem, "Path") => ("{}.path", Text),
        (FileSystem, "Format") => ("{}.format", Text),
        (FileSystem, "WipeFileSystem") => ("{}.wipe_filesystem", Bool),
        (FileSystem, "Label") => ("{}.label", Text),
        (FileSystem, "Uuid") => ("{}.uuid", Text),
        (FileSystem, "Options") => ("{}.options", list(Text)),
        (FileSystem, "MountOptions") => ("{}.mount_options | join(\",\")", Text),
        _ => return None,
    })
}
