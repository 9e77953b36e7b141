//! Flags that set fields of a node or a profile, named as in Warewulf. `UNDEF` or `UNSET` as a value clears a field.

use std::net::IpAddr;

use clap::Args;

use crate::exit::{Ended, Exit};
use crate::registry::{Entry, List, Map, NetDev, Text};

/// Fields to set; what is not given stays as it is.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct EntryFlags {
    /// Profiles, in order; `~name` takes one out.
    #[arg(long, short = 'P', value_delimiter = ',', value_name = "PROFILE")]
    profile: Option<Vec<String>>,
    /// Free text.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Cluster, for people and overlays.
    #[arg(long, short, value_name = "NAME")]
    cluster: Option<String>,
    /// Image, or one version of it.
    #[arg(long, value_name = "NAME[@ID]")]
    image: Option<String>,
    /// Boot script template.
    #[arg(long, value_name = "NAME")]
    ipxe: Option<String>,
    /// Shim and GRUB instead of iPXE for UEFI firmware, which Secure Boot wants.
    #[arg(long, value_name = "true|false")]
    grubboot: Option<String>,
    /// Network boot program, whatever the architecture.
    #[arg(long, value_name = "FILE")]
    bootprogram: Option<String>,
    /// Runtime overlays, in order.
    #[arg(long, short = 'R', value_delimiter = ',', value_name = "NAME")]
    runtime_overlays: Option<Vec<String>>,
    /// System overlays, in order.
    #[arg(long, short = 'O', value_delimiter = ',', value_name = "NAME")]
    system_overlays: Option<Vec<String>>,
    /// Kernel release, or the beginning of one.
    #[arg(long, value_name = "RELEASE")]
    kernelversion: Option<String>,
    /// Kernel arguments, separated by blanks (a comma is part of many); `~arg` takes an inherited one out.
    #[arg(long, short = 'A', value_name = "ARGS", allow_hyphen_values = true)]
    kernelargs: Option<String>,
    /// Path of init in the image.
    #[arg(long, short, value_name = "PATH")]
    init: Option<String>,
    /// Root mode: overlay or tmpfs.
    #[arg(long, value_name = "MODE")]
    root: Option<String>,
    /// Upper layer of the root in percent of memory.
    #[arg(long, value_name = "PERCENT")]
    rootsize: Option<String>,
    /// What a node does when its boot fails: retry, reboot or poweroff.
    #[arg(long, value_name = "ACTION")]
    onfail: Option<String>,
    /// How long it serves its image: seconds, 10m, 2h, always or never.
    #[arg(long, value_name = "TIME")]
    seed: Option<String>,
    /// Rack: whatever shares an uplink.
    #[arg(long, value_name = "NAME")]
    rack: Option<String>,
    /// Network that carries the main address.
    #[arg(long, short = 'p', value_name = "NET")]
    primarynet: Option<String>,
    /// Add or change a tag.
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE")]
    tagadd: Vec<String>,
    /// Remove a tag.
    #[arg(long, value_delimiter = ',', value_name = "KEY")]
    tagdel: Vec<String>,
    #[command(flatten)]
    net: NetFlags,
}

/// Fields of one network device.
#[derive(Args, Clone, Debug, Default)]
struct NetFlags {
    /// Network whose device the following flags set.
    #[arg(long, default_value = "default", value_name = "NET")]
    netname: String,
    /// ethernet, infiniband, bond, ….
    #[arg(long = "type", short = 'T', value_name = "TYPE")]
    kind: Option<String>,
    /// Whether the node brings it up.
    #[arg(long, value_name = "BOOL")]
    onboot: Option<String>,
    /// Interface name.
    #[arg(long, short = 'N', value_name = "DEVICE")]
    netdev: Option<String>,
    /// MAC address.
    #[arg(long, short = 'H', value_name = "MAC")]
    hwaddr: Option<String>,
    /// IPv4 address; for several nodes the first one's, counting up.
    #[arg(long, short = 'I', value_name = "IP")]
    ipaddr: Option<String>,
    /// IPv4 netmask.
    #[arg(long, short = 'M', value_name = "MASK")]
    netmask: Option<String>,
    /// IPv4 gateway.
    #[arg(long, short = 'G', value_name = "IP")]
    gateway: Option<String>,
    /// IPv6 address; for several nodes the first one's, counting up.
    #[arg(long, value_name = "IP")]
    ipaddr6: Option<String>,
    /// IPv6 prefix length.
    #[arg(long, value_name = "BITS")]
    prefixlen6: Option<String>,
    /// IPv6 gateway.
    #[arg(long, value_name = "IP")]
    gateway6: Option<String>,
    /// MTU in bytes.
    #[arg(long, value_name = "BYTES")]
    mtu: Option<String>,
    /// Add or change a tag of the network.
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE")]
    nettagadd: Vec<String>,
    /// Remove a tag of the network.
    #[arg(long, value_delimiter = ',', value_name = "KEY")]
    nettagdel: Vec<String>,
    /// Remove a network.
    #[arg(long, value_name = "NET")]
    netdel: Option<String>,
}

impl EntryFlags {
    /// Whether profiles are named.
    pub(super) const fn names_profiles(&self) -> bool {
        self.profile.is_some()
    }

    /// Sets the fields of the `index`-th of `count` entries.
    pub(super) fn apply(&self, entry: &mut Entry, index: u32, count: usize) -> anyhow::Result<()> {
        for (field, value) in [
            (&mut entry.comment, &self.comment),
            (&mut entry.cluster, &self.cluster),
            (&mut entry.image, &self.image),
            (&mut entry.ipxe, &self.ipxe),
            (&mut entry.grub_boot, &self.grubboot),
            (&mut entry.boot_program, &self.bootprogram),
            (&mut entry.kernel.version, &self.kernelversion),
            (&mut entry.init, &self.init),
            (&mut entry.root, &self.root),
            (&mut entry.root_size, &self.rootsize),
            (&mut entry.on_fail, &self.onfail),
            (&mut entry.seed, &self.seed),
            (&mut entry.rack, &self.rack),
            (&mut entry.primary_network, &self.primarynet),
        ] {
            set(field, value.as_deref());
        }
        set_list(&mut entry.profiles, self.profile.as_deref());
        set_list(&mut entry.runtime_overlays, self.runtime_overlays.as_deref());
        set_list(&mut entry.system_overlays, self.system_overlays.as_deref());
        let args: Option<Vec<String>> =
            self.kernelargs.as_ref().map(|args| args.split_whitespace().map(Into::into).collect());
        set_list(&mut entry.kernel.args, args.as_deref());
        set_tags(&mut entry.tags, &self.tagadd, &self.tagdel)?;
        self.net.apply(&mut entry.network_devices, index, count)
    }
}

impl NetFlags {
    fn apply(&self, devices: &mut Map<NetDev>, index: u32, count: usize) -> anyhow::Result<()> {
        if let Some(net) = &self.netdel
            && devices.shift_remove(net).is_none()
        {
            return Err(usage(format!("--netdel {net}: there is no such network")));
        }
        if self.hwaddr.is_some() && count > 1 {
            return Err(usage("--hwaddr: one MAC address cannot belong to several nodes; set it for each"));
        }
        let mut device = devices.get(&self.netname).cloned().unwrap_or_default();
        let (ipaddr, ipaddr6) =
            (count_up("--ipaddr", &self.ipaddr, index)?, count_up("--ipaddr6", &self.ipaddr6, index)?);
        for (field, value) in [
            (&mut device.kind, &self.kind),
            (&mut device.on_boot, &self.onboot),
            (&mut device.device, &self.netdev),
            (&mut device.hwaddr, &self.hwaddr),
            (&mut device.ipaddr, &ipaddr),
            (&mut device.netmask, &self.netmask),
            (&mut device.gateway, &self.gateway),
            (&mut device.ipaddr6, &ipaddr6),
            (&mut device.prefixlen6, &self.prefixlen6),
            (&mut device.gateway6, &self.gateway6),
            (&mut device.mtu, &self.mtu),
        ] {
            set(field, value.as_deref());
        }
        set_tags(&mut device.tags, &self.nettagadd, &self.nettagdel)?;
        // A flag that says nothing of the network must not make one.
        if devices.get(&self.netname).is_some_and(|old| *old != device) || device != NetDev::default() {
            devices.insert(self.netname.clone(), device);
        }
        Ok(())
    }
}

fn usage(message: impl Into<String>) -> anyhow::Error {
    Ended::new(Exit::Usage, message).into()
}

fn clears(value: &str) -> bool {
    matches!(value, "UNDEF" | "UNSET")
}

fn set(field: &mut Option<Text>, value: Option<&str>) {
    if let Some(value) = value {
        *field = (!clears(value)).then(|| value.into());
    }
}

fn set_list(list: &mut List, values: Option<&[String]>) {
    if let Some(values) = values {
        *list = values.iter().filter(|value| !clears(value) && !value.is_empty()).map(String::as_str).collect();
    }
}

fn set_tags(tags: &mut Map<Text>, add: &[String], remove: &[String]) -> anyhow::Result<()> {
    for tag in add {
        let (key, value) = tag.split_once('=').ok_or_else(|| usage(format!("{tag:?}: a tag is written KEY=VALUE")))?;
        tags.insert(key.to_owned(), value.into());
    }
    remove.iter().for_each(|key| drop(tags.shift_remove(key)));
    Ok(())
}

/// The address `index` above this one.
fn count_up(flag: &str, first: &Option<String>, index: u32) -> anyhow::Result<Option<String>> {
    let Some(first) = first.as_ref().filter(|first| index > 0 && !clears(first)) else { return Ok(first.clone()) };
    let ip: IpAddr = first.parse().map_err(|error| usage(format!("{flag} {first}: {error}")))?;
    let next = match ip {
        IpAddr::V4(ip) => ip.to_bits().checked_add(index).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(ip) => ip.to_bits().checked_add(index.into()).map(|bits| IpAddr::V6(bits.into())),
    };
    next.map(|ip| Some(ip.to_string())).ok_or_else(|| usage(format!("{flag} {first}: no {index} addresses follow it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_count_up_over_the_byte() {
        let first = Some("10.0.0.254".to_owned());
        let at = |index| count_up("--ipaddr", &first, index).unwrap().unwrap();
        assert_eq!((at(0), at(1), at(2)), ("10.0.0.254".into(), "10.0.0.255".into(), "10.0.1.0".into()));
        assert!(count_up("--ipaddr", &Some("255.255.255.255".into()), 1).is_err());
        assert!(count_up("--ipaddr", &Some("x".into()), 1).is_err());
    }

    #[test]
    fn flags_set_clear_and_leave_alone() {
        let mut entry = Entry { image: Some("old".into()), rack: Some("r1".into()), ..Entry::default() };
        let flags = EntryFlags {
            image: Some("UNDEF".into()),
            kernelargs: Some("~quiet console=ttyS0,115200".into()),
            tagadd: vec!["a=b=c".into()],
            net: NetFlags { netname: "default".into(), ..NetFlags::default() },
            ..EntryFlags::default()
        };
        flags.apply(&mut entry, 0, 1).unwrap();
        assert_eq!((entry.image, entry.rack), (None, Some("r1".into())));
        assert_eq!(entry.kernel.args, ["~quiet", "console=ttyS0,115200"].into_iter().collect());
        assert_eq!(entry.tags["a"].as_str(), "b=c");
        assert!(entry.network_devices.is_empty());
    }

    #[test]
    fn one_mac_address_for_two_nodes_is_refused() {
        let net =
            NetFlags { netname: "default".into(), hwaddr: Some("52:54:00:00:00:01".into()), ..NetFlags::default() };
        let flags = EntryFlags { net, ..EntryFlags::default() };
        let error = flags.apply(&mut Entry::default(), 0, 2).unwrap_err();
        assert_eq!(Ended::code_of(&error), Exit::Usage);
    }
}
