//! Which modules an agent needs to reach the network and to mount the root.

use std::collections::BTreeSet;

use super::InitramfsSettings;
use super::index::{ModuleIndex, normal};

/// Where the kernel's own build has its Ethernet drivers.
const ETHERNET: &str = "kernel/drivers/net/ethernet/";
/// And its InfiniBand adapters.
const INFINIBAND: &str = "kernel/drivers/infiniband/hw/";
/// Drivers of network cards elsewhere: paravirtual ones.
const OTHER_NICS: [&str; 6] = ["virtio_net", "vmxnet3", "hv_netvsc", "ena", "gve", "xen_netfront"];
/// Without these no root is mounted.
pub(super) const ROOT: [&str; 3] = ["loop", "squashfs", "overlay"];
/// Buses on which a network card appears, packet sockets for DHCP and ARP, tagged networks, and entropy for keys.
const BASE: [&str; 14] = [
    "virtio",
    "virtio_pci",
    "virtio_mmio",
    "virtio_ring",
    "virtio_rng",
    "hv_vmbus",
    "pci_hyperv",
    "xen_pcifront",
    "vmd",
    "af_packet",
    "ipv6",
    "8021q",
    "garp",
    "mrp",
];
/// A keyboard for the Rescue prompt where only a screen is there.
const CONSOLE: [&str; 7] = ["i8042", "atkbd", "xhci_pci", "ehci_pci", "usbhid", "hid_generic", "usbkbd"];
/// InfiniBand beside its adapters.
const IPOIB: [&str; 3] = ["ib_ipoib", "ib_umad", "mlx5_ib"];

/// What goes into the initramfs, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// All modules.
    pub(super) modules: BTreeSet<String>,
    /// Those of them that drive a network card.
    pub(super) nics: BTreeSet<String>,
    /// Those that every node wants, whatever its card; what they need is not listed.
    pub(super) base: BTreeSet<String>,
    /// What the settings ask for and the kernel does not have.
    pub(super) unknown: Vec<String>,
}

/// Chooses modules with everything that they need. `drives_nic` says of a module that is not part of the kernel's own build
/// whether it drives a network card.
pub(super) fn choose(
    index: &ModuleIndex,
    settings: &InitramfsSettings,
    mut drives_nic: impl FnMut(&str) -> bool,
) -> Selection {
    let omitted = |name: &str| settings.omit.iter().any(|pattern| matches(&normal(pattern), name));
    let mut nics: BTreeSet<String> = index.below(ETHERNET).chain(OTHER_NICS).map(str::to_owned).collect();
    let foreign = index.modules().filter(|(_, module)| !module.path.starts_with("kernel/"));
    nics.extend(foreign.filter(|(name, _)| drives_nic(name)).map(|(name, _)| name.clone()));
    if settings.infiniband {
        nics.extend(index.below(INFINIBAND).chain(IPOIB).map(str::to_owned));
    }
    nics.retain(|name| index.get(name).is_some() && !omitted(name));

    let mut unknown = vec![];
    let fixed = ROOT.iter().chain(&BASE).chain(&CONSOLE).map(|name| (*name).to_owned());
    // What mounts the root cannot be omitted.
    let mut base: BTreeSet<String> = fixed.filter(|name| ROOT.contains(&name.as_str()) || !omitted(name)).collect();
    // Small, and on no PCI bus; nor is all of an InfiniBand adapter.
    let anyway = |name: &&String| OTHER_NICS.contains(&name.as_str()) || settings.infiniband;
    base.extend(nics.iter().filter(anyway).cloned());
    for name in &settings.modules {
        let found = index.resolve(name);
        if found.is_empty() && !index.is_builtin(&normal(name)) {
            unknown.push(name.clone());
        }
        base.extend(found.into_iter().map(str::to_owned));
    }
    base.retain(|name| index.get(name).is_some());
    let modules = closure(index, base.union(&nics).cloned().collect(), omitted);
    Selection { modules, nics, base, unknown }
}

/// These modules with all that they need, softly unless it is omitted.
pub(super) fn closure(
    index: &ModuleIndex,
    mut pending: Vec<String>,
    omitted: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let mut chosen = BTreeSet::new();
    while let Some(name) = pending.pop() {
        let Some(module) = index.get(&name) else { continue };
        if !chosen.insert(name.clone()) {
            continue;
        }
        // A hard dependency is not omitted: without it the module would not load at all.
        pending.extend(module.depends.iter().cloned());
        if let Some(softdep) = index.softdep(&name) {
            let soft = softdep.pre.iter().chain(&softdep.post).flat_map(|name| index.resolve(name));
            pending.extend(soft.filter(|name| !omitted(name)).map(str::to_owned));
        }
    }
    chosen
}

/// Whether `name` is `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    loop {
        if matches(rest, name) {
            return true;
        }
        let mut characters = name.chars();
        if characters.next().is_none() {
            return false;
        }
        name = characters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::DepmodFiles;
    use super::*;

    fn index() -> ModuleIndex {
        let files = DepmodFiles {
            dep: "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko: kernel/drivers/pps/pps_core.ko\n\
                  kernel/drivers/pps/pps_core.ko:\n\
                  kernel/drivers/net/ethernet/mellanox/mlxsw/mlxsw_core.ko:\n\
                  updates/dkms/ice.ko: updates/dkms/auxiliary.ko\nupdates/dkms/auxiliary.ko:\n\
                  extra/nfpx/nfpx.ko:\nextra/fs/lustre.ko:\n\
                  kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko\nkernel/net/core/failover.ko:\n\
                  kernel/drivers/block/loop.ko:\nkernel/fs/overlayfs/overlay.ko:\n\
                  kernel/fs/squashfs/squashfs.ko:\nkernel/lib/crc32c.ko:\nkernel/sound/snd.ko:\n\
                  kernel/drivers/infiniband/hw/hfi1/hfi1.ko:\nkernel/drivers/infiniband/ulp/ib_ipoib.ko:\n"
                .into(),
            softdep: "softdep e1000e pre: crypto-crc32c\n".into(),
            alias: "alias crypto-crc32c crc32c\n".into(),
            order: "kernel/drivers/net/ethernet/intel/ice/ice.ko\n".into(),
            builtin: "kernel/net/packet/af_packet.ko\n".into(),
        };
        ModuleIndex::parse("6.1", &files)
    }

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn network_cards_and_the_root_come_with_all_that_they_need() {
        let chosen = choose(&index(), &InitramfsSettings::default(), |name| name == "nfpx");
        assert_eq!(names(&chosen.nics), ["e1000e", "ice", "nfpx", "virtio_net"]);
        let expected = [
            "auxiliary",
            "crc32c",
            "e1000e",
            "failover",
            "ice",
            "loop",
            "nfpx",
            "overlay",
            "pps_core",
            "squashfs",
            "virtio_net",
        ];
        assert_eq!(names(&chosen.modules), expected);
        assert!(chosen.unknown.is_empty());
    }

    #[test]
    fn settings_add_and_omit() {
        let settings = InitramfsSettings {
            modules: vec!["snd".into(), "af-packet".into(), "nvme".into()],
            omit: vec!["e1000*".into(), "loop".into(), "failover".into()],
            infiniband: true,
            ..InitramfsSettings::default()
        };
        let chosen = choose(&index(), &settings, |_| false);
        let present = |name: &str| chosen.modules.contains(name);
        assert!(present("snd") && present("hfi1") && present("ib_ipoib"));
        assert!(!present("e1000e") && !present("pps_core") && !present("crc32c"));
        assert!(present("loop"), "the root needs it");
        assert!(present("failover"), "virtio_net needs it");
        assert_eq!(chosen.unknown, ["nvme"]);
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("mlxsw_*", "mlxsw_core", true),
            ("a", "ab", false),
            ("*b*", "abc", true),
            ("*c", "ccc", true),
            ("a*c", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
