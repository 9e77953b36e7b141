//! What the kernel says of the machine, below a root directory: sysfs and procfs. Nothing is asked twice, and what cannot be read
//! is left out.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use wulfpack_shared::limits::{DISCOVER_DISKS_MAX, DISCOVER_GPUS_MAX, DISCOVER_NICS_MAX};
use wulfpack_shared::wire::{BmcInfo, CpuInfo, DiskInfo, GpuInfo, Inventory, NicInfo, SystemInfo};

use super::{dmi, ipmi};

/// Largest file that is read. Bytes; a table of firmware has at most 64 KiB, /proc/cpuinfo of many processors is cut.
const FILE_MAX: u64 = 256 * 1024;
/// Block devices that are no disks.
const NO_DISKS: [&str; 9] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock"];
/// What vendors leave in when they fill nothing in, in lower case.
const FILLERS: [&str; 12] = [
    "to be filled by o.e.m.",
    "default string",
    "not specified",
    "not available",
    "none",
    "n/a",
    "system serial number",
    "system product name",
    "system manufacturer",
    "chassis serial number",
    "no asset tag",
    "0123456789",
];

/// The machine whose `/sys` and `/proc` are below `root`.
pub fn inventory(root: &Path) -> Inventory {
    let mut inventory = Inventory {
        system: system(&root.join("sys/class/dmi/id")),
        cpu: cpu(root),
        memory: memory(root),
        arch: std::env::consts::ARCH.to_owned(),
        nics: nics(&root.join("sys/class/net")),
        disks: disks(&root.join("sys/block")),
        gpus: gpus(&root.join("sys/bus/pci/devices")),
        bmc: bmc(root),
    };
    inventory.tidy();
    inventory
}

fn read(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = vec![];
    fs::File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A file of one value.
fn word(path: &Path) -> String {
    read(path).map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    word(path).parse().ok()
}

/// Name of what a link of sysfs points to.
fn target(path: &Path) -> String {
    let link = fs::read_link(path).ok();
    link.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned())).unwrap_or_default()
}

/// The entries of a directory in the order of their names.
fn entries(dir: &Path) -> Vec<(String, std::path::PathBuf)> {
    let listed = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<_> =
        listed.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    all.sort();
    all
}

fn system(dir: &Path) -> SystemInfo {
    let field = |name: &str| {
        let text = word(&dir.join(name));
        if FILLERS.contains(&text.to_lowercase().as_str()) { String::new() } else { text }
    };
    let serial = field("product_serial");
    let firmware = format!("{} {}", field("bios_vendor"), field("bios_version"));
    SystemInfo {
        vendor: field("sys_vendor"),
        product: field("product_name"),
        serial: if serial.is_empty() { field("chassis_serial") } else { serial },
        asset: field("chassis_asset_tag"),
        uuid: field("product_uuid").to_lowercase(),
        firmware: firmware.trim().to_owned(),
    }
}

fn cpu(root: &Path) -> CpuInfo {
    let text = word(&root.join("proc/cpuinfo"));
    let model = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "model name");
    let (mut sockets, mut cores, mut threads) = (BTreeSet::new(), BTreeSet::new(), 0u16);
    for (name, path) in entries(&root.join("sys/devices/system/cpu")) {
        let numbered = name.strip_prefix("cpu").is_some_and(|rest| rest.parse::<u32>().is_ok());
        let topology = path.join("topology");
        if !numbered || !topology.exists() {
            continue;
        }
        let socket = word(&topology.join("physical_package_id"));
        cores.insert((socket.clone(), word(&topology.join("die_id")), word(&topology.join("core_id"))));
        sockets.insert(socket);
        threads = threads.saturating_add(1);
    }
    let count = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
    CpuInfo {
        model: model.map_or_else(String::new, |(_, model)| model.split_whitespace().collect::<Vec<_>>().join(" ")),
        sockets: count(sockets.len()),
        cores: count(cores.len()),
        threads,
    }
}

fn memory(root: &Path) -> u64 {
    let text = word(&root.join("proc/meminfo"));
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

fn nics(dir: &Path) -> Vec<NicInfo> {
    let nic = |(name, path): (String, std::path::PathBuf)| {
        // ARPHRD_ETHER; an interface that is made of others is none.
        let ethernet = number::<u16>(&path.join("type")) == Some(1);
        if !ethernet || ["bridge", "bonding", "tun_flags"].iter().any(|made| path.join(made).exists()) {
            return None;
        }
        Some(NicInfo {
            name,
            mac: word(&path.join("address")).parse().ok()?,
            driver: target(&path.join("device/driver")),
            slot: target(&path.join("device")),
            // -1 where the driver does not know.
            speed: number::<i64>(&path.join("speed")).and_then(|speed| u32::try_from(speed).ok()).unwrap_or(0),
            carrier: number::<u8>(&path.join("carrier")) == Some(1),
            neighbour: None,
        })
    };
    entries(dir).into_iter().filter_map(nic).take(DISCOVER_NICS_MAX).collect()
}

fn disks(dir: &Path) -> Vec<DiskInfo> {
    let disk = |(name, path): (String, std::path::PathBuf)| {
        let sectors = number::<u64>(&path.join("size")).filter(|sectors| *sectors > 0)?;
        if NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        let serial = [path.join("device/serial"), path.join("serial")]
            .iter()
            .map(|file| word(file))
            .find(|text| !text.is_empty());
        Some(DiskInfo {
            name,
            size: sectors.saturating_mul(512),
            model: word(&path.join("device/model")),
            serial: serial.or_else(|| unit_serial(&path.join("device/vpd_pg80"))).unwrap_or_default(),
            rotational: number::<u8>(&path.join("queue/rotational")) == Some(1),
        })
    };
    entries(dir).into_iter().filter_map(disk).take(DISCOVER_DISKS_MAX).collect()
}

/// The page "unit serial number" (SPC-4, 7.8.15): four bytes of header, then the number.
fn unit_serial(path: &Path) -> Option<String> {
    let page = read(path)?;
    let text = String::from_utf8_lossy(page.get(4..)?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn gpus(dir: &Path) -> Vec<GpuInfo> {
    let id = |path: &Path| u16::from_str_radix(word(path).trim_start_matches("0x"), 16).unwrap_or(0);
    let gpu = |(slot, path): (String, std::path::PathBuf)| {
        // Base class 03: VGA, XGA, 3D, other display controllers.
        word(&path.join("class")).starts_with("0x03").then(|| GpuInfo {
            slot,
            vendor: id(&path.join("vendor")),
            device: id(&path.join("device")),
            driver: target(&path.join("driver")),
        })
    };
    entries(dir).into_iter().filter_map(gpu).take(DISCOVER_GPUS_MAX).collect()
}

/// What firmware says, and what the controller itself says where the kernel speaks to it.
fn bmc(root: &Path) -> Option<BmcInfo> {
    let said = read(&root.join("sys/firmware/dmi/tables/DMI")).map(|table| dmi::management(&table)).unwrap_or_default();
    let lan = if root == Path::new("/") { ipmi::lan() } else { None };
    let mut kinds = vec![];
    match said.ipmi {
        Some((major, minor)) => kinds.push(format!("ipmi {major}.{minor}")),
        None => kinds.extend(lan.map(|_| "ipmi".to_owned())),
    }
    kinds.extend(said.redfish.map(|address| format!("redfish at {address} from inside")));
    if kinds.is_empty() {
        return None;
    }
    let (address, mac) = lan.unwrap_or_default();
    Some(BmcInfo { address: address.map(IpAddr::V4), mac, kind: kinds.join(", ") })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A machine with what servers have, and with what is not to be counted.
    fn machine(root: &Path) {
        let dmi = "sys/class/dmi/id";
        for (file, text) in [
            ("sys_vendor", "Vendor Inc.\n"),
            ("product_name", "R1\n"),
            ("product_serial", "To Be Filled By O.E.M.\n"),
            ("chassis_serial", "CH-7\n"),
            ("chassis_asset_tag", "A 17\u{7}\n"),
            ("product_uuid", "4C4C4544-0000-1000-8000-000000000007\n"),
            ("bios_vendor", "Firm"),
            ("bios_version", "2.1"),
        ] {
            write(root, &format!("{dmi}/{file}"), text);
        }
        write(root, "proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
        write(
            root,
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: Chip   9000\n\nprocessor\t: 1\nmodel name\t: Chip\n",
        );
        for (cpu, socket, core) in [(0, 0, 0), (1, 0, 0), (2, 1, 0), (3, 1, 1)] {
            write(root, &format!("sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"), &socket.to_string());
            write(root, &format!("sys/devices/system/cpu/cpu{cpu}/topology/core_id"), &core.to_string());
        }
        write(root, "sys/devices/system/cpu/cpufreq/x", "");
        for (name, kind, mac) in
            [("eth0", 1, "52:54:00:00:00:01"), ("lo", 772, "00:00:00:00:00:00"), ("br0", 1, "52:54:00:00:00:02")]
        {
            write(root, &format!("sys/class/net/{name}/type"), &kind.to_string());
            write(root, &format!("sys/class/net/{name}/address"), mac);
        }
        write(root, "sys/class/net/br0/bridge/x", "");
        write(root, "sys/class/net/eth0/speed", "25000\n");
        write(root, "sys/class/net/eth0/carrier", "1\n");
        write(root, "sys/pci/0000:01:00.0/x", "");
        write(root, "sys/drivers/mlx5_core/x", "");
        symlink("../../../pci/0000:01:00.0", root.join("sys/class/net/eth0/device")).unwrap();
        symlink("../../drivers/mlx5_core", root.join("sys/pci/0000:01:00.0/driver")).unwrap();
        for (name, sectors) in [("sda", "2048"), ("loop0", "64"), ("sr0", "9"), ("sdb", "0")] {
            write(root, &format!("sys/block/{name}/size"), sectors);
        }
        write(root, "sys/block/sda/device/model", "DISK  \n");
        write(root, "sys/block/sda/device/vpd_pg80", "\0\u{80}\0\u{4}  S1");
        write(root, "sys/block/sda/queue/rotational", "1");
        for (slot, class) in [("0000:02:00.0", "0x030200"), ("0000:03:00.0", "0x020000")] {
            write(root, &format!("sys/bus/pci/devices/{slot}/class"), class);
            write(root, &format!("sys/bus/pci/devices/{slot}/vendor"), "0x10de");
            write(root, &format!("sys/bus/pci/devices/{slot}/device"), "0x2330");
        }
    }

    #[test]
    fn a_machine_is_what_its_sysfs_says() {
        let dir = tempfile::tempdir().unwrap();
        machine(dir.path());
        let found = inventory(dir.path());
        let SystemInfo { vendor, serial, asset, uuid, firmware, .. } = &found.system;
        assert_eq!([vendor, serial, asset], ["Vendor Inc.", "CH-7", "A 17"], "what is not filled in is not there");
        assert_eq!((uuid.as_str(), firmware.as_str()), ("4c4c4544-0000-1000-8000-000000000007", "Firm 2.1"));
        assert_eq!(found.cpu, CpuInfo { model: "Chip 9000".into(), sockets: 2, cores: 3, threads: 4 });
        assert_eq!(found.memory, 16 * 1024 * 1024);
        let [nic] = found.nics.as_slice() else { panic!("{:?}", found.nics) };
        assert_eq!((nic.name.as_str(), nic.speed, nic.carrier), ("eth0", 25_000, true));
        assert_eq!((nic.driver.as_str(), nic.slot.as_str()), ("mlx5_core", "0000:01:00.0"));
        let [disk] = found.disks.as_slice() else { panic!("{:?}", found.disks) };
        assert_eq!((disk.model.as_str(), disk.serial.as_str(), disk.size), ("DISK", "S1", 1_048_576));
        let [gpu] = found.gpus.as_slice() else { panic!("{:?}", found.gpus) };
        assert_eq!((gpu.vendor, gpu.device), (0x10de, 0x2330));
        assert_eq!(found.bmc, None);
        assert_eq!(found.excess(), None);
    }

    #[test]
    fn a_machine_that_says_nothing_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let found = inventory(dir.path());
        assert_eq!(found, Inventory { arch: std::env::consts::ARCH.into(), ..Inventory::default() });
    }
}
