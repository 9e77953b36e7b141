//! What one machine needs of an archive of modules: the driver of the card that it boots from instead of all drivers.
//!
//! The archive says itself which modules every node wants; its own `modules.alias` says which driver a card wants. A card that no
//! alias names gets everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read as _};
use std::str::FromStr;

use super::archive::trimmed;
use super::compress::ArchiveCompression;
use super::cpio::{Archive, padding};
use super::index::{DepmodFiles, ModuleIndex, module_name, normal};
use super::modinfo::ModInfo;
use super::select::closure;

/// Below `/lib/modules/RELEASE`: names of the modules that every node wants, whatever its card.
pub(super) const BASE_FILE: &str = "wulfpack.base";
/// Drivers of Ethernet cards in the kernel's own build.
const ETHERNET: &str = "kernel/drivers/net/ethernet/";
/// File types of cpio (buffer-format.rst of the kernel).
const TYPE: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// A PCI card by vendor and device, as iPXE writes its `busid`: `01-80-86-10-d3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciId {
    vendor: u16,
    device: u16,
}

impl FromStr for PciId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap_or_default();
        match *bytes.as_slice() {
            // Bus type 1 is PCI (iPXE, src/include/ipxe/device.h).
            [1, a, b, c, d] => Ok(Self { vendor: u16::from_be_bytes([a, b]), device: u16::from_be_bytes([c, d]) }),
            _ => Err("not the bus id of a PCI card"),
        }
    }
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl PciId {
    /// Whether a module with this alias drives the card, as far as vendor and device tell (file2alias.c of the kernel).
    fn fits(self, alias: &str) -> bool {
        let parts = alias.strip_prefix("pci:v").and_then(|rest| rest.split_once('d')).and_then(|(vendor, rest)| {
            let (device, _) = rest.split_once("sv")?;
            Some((vendor, device))
        });
        let fits = |text: &str, number: u16| {
            text == "*" || u32::from_str_radix(text, 16).is_ok_and(|value| value == u32::from(number))
        };
        parts.is_some_and(|(vendor, device)| fits(vendor, self.vendor) && fits(device, self.device))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    File(Vec<u8>),
    Link(String),
}

/// An archive of modules, unpacked.
struct Unpacked {
    release: String,
    compression: ArchiveCompression,
    entries: BTreeMap<String, Content>,
    files: DepmodFiles,
    base: BTreeSet<String>,
}

/// The drivers that archives have for cards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drivers(Vec<(String, String)>);

impl Drivers {
    /// Those of this archive; none where it does not say what every node wants, because an older build made it.
    pub fn of(archive: &[u8]) -> io::Result<Self> {
        let Some(unpacked) = Unpacked::read(archive)? else { return Ok(Self::default()) };
        let alias = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let (alias, module) = (words.next()?, words.next()?);
            alias.starts_with("pci:").then(|| (alias.to_owned(), normal(module)))
        };
        Ok(Self(unpacked.files.alias.lines().filter_map(alias).collect()))
    }

    /// The drivers of this card, by name; empty where none is known.
    pub fn for_card(&self, card: PciId) -> BTreeSet<String> {
        self.0.iter().filter(|(alias, _)| card.fits(alias)).map(|(_, module)| module.clone()).collect()
    }
}

/// The archive with these drivers alone, and what they and every node need; `None` where it cannot be less than it is.
///
/// # Errors
/// The archive is damaged.
pub fn with_drivers(archive: &[u8], drivers: &BTreeSet<String>) -> io::Result<Option<Vec<u8>>> {
    let Some(unpacked) = Unpacked::read(archive)?.filter(|_| !drivers.is_empty()) else { return Ok(None) };
    unpacked.with(drivers).map(Some)
}

impl Unpacked {
    fn read(archive: &[u8]) -> io::Result<Option<Self>> {
        let compression = ArchiveCompression::detect(archive);
        let mut rest = compression.reader(archive)?;
        let mut entries = BTreeMap::new();
        loop {
            let mut reader = cpio::NewcReader::new(rest)?;
            if reader.entry().is_trailer() {
                break;
            }
            let (path, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut bytes = vec![];
            reader.read_to_end(&mut bytes)?;
            match mode & TYPE {
                FILE => drop(entries.insert(path, Content::File(bytes))),
                LINK => drop(entries.insert(path, Content::Link(String::from_utf8_lossy(&bytes).into_owned()))),
                // Directories come by themselves.
                _ => {}
            }
            rest = reader.finish()?;
        }
        let base = entries.keys().find(|path| path.ends_with(BASE_FILE)).cloned();
        let Some(release) = base.as_deref().and_then(|path| path.split('/').nth(2)).map(str::to_owned) else {
            return Ok(None);
        };
        let text = |name: &str| match entries.get(&format!("lib/modules/{release}/{name}")) {
            Some(Content::File(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        let files = DepmodFiles {
            dep: text("modules.dep"),
            alias: text("modules.alias"),
            softdep: text("modules.softdep"),
            builtin: text("modules.builtin"),
            order: text("modules.order"),
        };
        let base = text(BASE_FILE).lines().map(str::to_owned).collect();
        Ok(Some(Self { release, compression, entries, files, base }))
    }

    fn with(self, drivers: &BTreeSet<String>) -> io::Result<Vec<u8>> {
        let index = ModuleIndex::parse(&self.release, &self.files);
        let families: Vec<&str> =
            drivers.iter().filter_map(|name| index.get(name)).filter_map(|module| family(&module.path)).collect();
        let siblings = index.modules().filter(|(_, module)| families.iter().any(|dir| module.path.starts_with(dir)));
        let wanted = self.base.iter().chain(drivers).chain(siblings.map(|(name, _)| name));
        let keep = closure(&index, wanted.cloned().collect(), |_| false);
        let of_module = |path: &str| path.strip_prefix("lib/modules/").and_then(module_name);
        // Firmware that only modules declare which are left out.
        let (mut wanted, mut unwanted) = (BTreeSet::new(), BTreeSet::new());
        for (path, content) in &self.entries {
            if let (Some(name), Content::File(bytes)) = (of_module(path), content) {
                let info = ModInfo::parse(bytes).map_err(io::Error::other)?;
                if keep.contains(&name) { wanted.extend(info.firmware) } else { unwanted.extend(info.firmware) }
            }
        }
        let firmware: BTreeSet<&String> = unwanted.difference(&wanted).collect();
        let left_out = |path: &str| match of_module(path) {
            Some(name) => !keep.contains(&name),
            None => names_of_firmware(path, &self.release).any(|name| firmware.iter().any(|gone| *gone == name)),
        };
        let stays: BTreeSet<String> = self.entries.keys().filter(|path| !left_out(path)).cloned().collect();
        let linked: BTreeSet<String> = stays.iter().filter_map(|path| self.target(path)).collect();
        let mut smaller = Archive::default();
        smaller.directory("lib/firmware", 0o755);
        for (path, content) in &self.entries {
            match content {
                _ if !stays.contains(path) && !linked.contains(path) => {}
                Content::File(bytes) => smaller.file(path, 0o644, bytes.clone()),
                Content::Link(target) => smaller.link(path, target),
            }
        }
        for (name, text) in trimmed(&self.files, &keep) {
            smaller.file(&format!("lib/modules/{}/{name}", self.release), 0o644, text.into_bytes());
        }
        let mut bytes = self.compression.compress(vec![], |sink| smaller.write(sink))?;
        bytes.resize(bytes.len() + padding(bytes.len()), 0);
        Ok(bytes)
    }

    /// Where a link of the archive leads to.
    fn target(&self, path: &str) -> Option<String> {
        let Content::Link(target) = self.entries.get(path)? else { return None };
        Some(target.trim_start_matches('/').to_owned())
    }
}

/// Where drivers lie that may need each other without saying so (the parts of one chip): the directory of vendor and family.
fn family(path: &str) -> Option<&str> {
    let (start, depth) = if path.starts_with(ETHERNET) { (ETHERNET.len(), 2) } else { (0, usize::MAX) };
    let directories = path.get(start..)?.match_indices('/').map(|(at, _)| start + at + 1);
    directories.take(depth).last().and_then(|end| path.get(..end))
}

/// What a module may call this file: its path below the directories that the kernel searches, compressed or not.
fn names_of_firmware<'a>(path: &'a str, release: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let below = path.strip_prefix("lib/firmware/");
    let directories = [format!("updates/{release}/"), "updates/".into(), format!("{release}/"), String::new()];
    directories.into_iter().filter_map(move |dir| {
        let name = below?.strip_prefix(dir.as_str())?;
        Some([".xz", ".zst"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::fixture::module;

    fn archive() -> Vec<u8> {
        let release = "6.1";
        let path = |rest: &str| format!("lib/modules/{release}/{rest}");
        let mut archive = Archive::default();
        let mut add = |rest: &str, fields: &[&str]| archive.file(&path(rest), 0o644, module(fields, &[]));
        add("kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko", &[]);
        add("kernel/drivers/net/ethernet/intel/ice/ice.ko", &["firmware=intel/ice.pkg", "firmware=shared.bin"]);
        add("kernel/drivers/net/ethernet/broadcom/bnx2x/bnx2x.ko", &["firmware=bnx2x.fw", "firmware=shared.bin"]);
        add("kernel/drivers/net/ethernet/cavium/thunder/nicpf.ko", &[]);
        add("kernel/drivers/net/ethernet/cavium/thunder/nicvf.ko", &[]);
        add("kernel/drivers/pps/pps_core.ko", &[]);
        add("kernel/lib/crc8.ko", &[]);
        add("kernel/drivers/block/loop.ko", &[]);
        for name in ["intel/ice.pkg", "shared.bin", "bnx2x.fw", "site.fw"] {
            archive.file(&format!("lib/firmware/{name}"), 0o644, vec![7; 10]);
        }
        archive.link("lib/firmware/updates/intel/ice.pkg", "/lib/firmware/intel/ice.pkg");
        let mut text = |name: &str, text: &str| archive.file(&path(name), 0o644, text.into());
        text(
            "modules.dep",
            "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko: kernel/drivers/pps/pps_core.ko\n\
             kernel/drivers/net/ethernet/intel/ice/ice.ko: kernel/drivers/pps/pps_core.ko\n\
             kernel/drivers/net/ethernet/broadcom/bnx2x/bnx2x.ko: kernel/lib/crc8.ko\n\
             kernel/drivers/net/ethernet/cavium/thunder/nicpf.ko:\nkernel/drivers/net/ethernet/cavium/thunder/nicvf.ko:\n\
             kernel/drivers/pps/pps_core.ko:\nkernel/lib/crc8.ko:\nkernel/drivers/block/loop.ko:\n",
        );
        text(
            "modules.alias",
            "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\nalias pci:v00008086d00001592sv*sd*bc*sc*i* ice\n\
             alias pci:v000014E4d0000164Fsv*sd*bc*sc*i* bnx2x\nalias pci:v0000177Dd0000A034sv*sd*bc*sc*i* nicvf\n",
        );
        text(BASE_FILE, "loop\n");
        archive.file("etc/modprobe.d/site.conf", 0o644, b"options loop max_loop=8\n".to_vec());
        let mut bytes = vec![];
        archive.write(&mut bytes).unwrap();
        bytes
    }

    fn left(card: &str) -> Vec<String> {
        let drivers = Drivers::of(&archive()).unwrap().for_card(card.parse().unwrap());
        let smaller = with_drivers(&archive(), &drivers).unwrap().unwrap();
        assert_eq!(smaller.len() % 512, 0);
        let names = Unpacked::read(&smaller).unwrap().unwrap().entries.into_keys();
        names
            .filter(|path| !path.contains("modules."))
            .map(|path| path.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_card_gets_its_driver_with_all_that_it_needs_and_nobody_elses_firmware() {
        let common = ["site.conf", "shared.bin", "site.fw", "loop.ko", "wulfpack.base"];
        let sorted = |more: &[&str]| {
            let mut names: Vec<String> = common.iter().chain(more).map(|name| (*name).to_owned()).collect();
            names.sort();
            names
        };
        let got = |card| {
            let mut names = left(card);
            names.sort();
            names
        };
        // What only other drivers declare is gone; nobody declares site.fw, so an administrator wants it.
        let mut expected = sorted(&["e1000e.ko", "pps_core.ko"]);
        expected.retain(|name| name != "shared.bin");
        assert_eq!(got("01-80-86-10-d3"), expected);
        assert_eq!(got("01:80:86:15:92"), sorted(&["ice.ko", "pps_core.ko", "ice.pkg", "ice.pkg"]));
        assert_eq!(got("0114e4164f"), sorted(&["bnx2x.ko", "crc8.ko", "bnx2x.fw"]));
        let mut expected = sorted(&["nicpf.ko", "nicvf.ko"]);
        expected.retain(|name| name != "shared.bin");
        assert_eq!(got("01177da034"), expected, "parts of one chip need each other");
    }

    #[test]
    fn whom_nobody_drives_gets_everything_and_so_does_an_old_archive() {
        let drivers = Drivers::of(&archive()).unwrap();
        assert!(drivers.for_card("011af41000".parse().unwrap()).is_empty());
        assert_eq!(with_drivers(&archive(), &BTreeSet::new()).unwrap(), None);
        let mut old = Archive::default();
        old.file("lib/modules/6.1/modules.alias", 0o644, b"alias pci:v*d*sv*sd*bc02sc*i* e1000e\n".to_vec());
        let mut bytes = vec![];
        old.write(&mut bytes).unwrap();
        assert_eq!(Drivers::of(&bytes).unwrap(), Drivers::default());
        assert!(Drivers::of(&bytes[..60]).is_err());
    }

    #[test]
    fn only_pci_cards_have_an_id() {
        for text in ["", "02-80-86-10-d3", "01-80-86-10", "01-80-86-10-d3-00", "${netX/busid}", "../.."] {
            assert!(text.parse::<PciId>().is_err(), "{text}");
        }
        assert_eq!("01-80-86-10-D3".parse::<PciId>().unwrap().to_string(), "8086:10d3");
    }
}
