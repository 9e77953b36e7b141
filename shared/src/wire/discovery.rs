//! Machines that no registry knows: what they are, and what becomes of them. Whoever reaches the head's control plane may send
//! these; nothing here says anything about any node until the machine is one.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::{BootId, Mac, NodeName};
use crate::limits::{DISCOVER_DISKS_MAX, DISCOVER_GPUS_MAX, DISCOVER_NICS_MAX, DISCOVER_TEXT_MAX};

/// A machine tells what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoverRequest {
    /// From the token initrd: that the head saw this interface ask for its boot script.
    pub token: Vec<u8>,
    /// The interface that it booted from.
    pub mac: Mac,
    /// This life of the agent.
    pub boot: BootId,
    /// Version of the agent program.
    pub agent: String,
    /// What it is.
    pub inventory: Inventory,
    /// Nothing will be added: it has listened for its switches long enough.
    pub complete: bool,
}

/// To a machine that told what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {
    /// For the person at its console: that it is on the list, and what keeps it from becoming a node by itself.
    pub text: String,
}

/// A machine on the list waits for what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitAdoption {
    /// The interface that it booted from.
    pub mac: Mac,
    /// This life of the agent.
    pub boot: BootId,
    /// How long the head may hold this request, in seconds; at most [`crate::limits::LISTEN_MAX`].
    pub wait_s: u16,
}

/// What has become of a machine on the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adoption {
    /// Nothing yet: ask again.
    Waiting {
        /// For the person at its console.
        text: String,
    },
    /// It is this node and goes on.
    Adopted {
        /// The node.
        node: NodeName,
        /// Its `wulf.` kernel arguments, as its boot script would have had them.
        args: String,
        /// Its join token; only the key that asks can show it.
        token: Vec<u8>,
    },
    /// It is this node, and what runs on it is not what the node boots: it has to begin again.
    Restart {
        /// The node.
        node: NodeName,
        /// What differs.
        why: String,
    },
    /// The head does not know it any more: it tells what it is again.
    Forgotten,
}

/// What a machine is. Empty texts and `None` mean that the machine does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Board and case.
    pub system: SystemInfo,
    /// Processors.
    pub cpu: CpuInfo,
    /// Memory in bytes.
    pub memory: u64,
    /// `uname -m`.
    pub arch: String,
    /// Network interfaces; at most [`DISCOVER_NICS_MAX`].
    pub nics: Vec<NicInfo>,
    /// Disks; at most [`DISCOVER_DISKS_MAX`].
    pub disks: Vec<DiskInfo>,
    /// Display and 3D controllers; at most [`DISCOVER_GPUS_MAX`].
    pub gpus: Vec<GpuInfo>,
    /// Its management controller.
    pub bmc: Option<BmcInfo>,
}

/// What firmware says of board and case (DMTF DSP0134).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInfo {
    /// Manufacturer (type 1).
    pub vendor: String,
    /// Product name (type 1).
    pub product: String,
    /// Serial number (type 1, else of the case).
    pub serial: String,
    /// Asset tag of the case (type 3).
    pub asset: String,
    /// UUID as `dmidecode` prints it.
    pub uuid: String,
    /// Vendor and version of the firmware.
    pub firmware: String,
}

/// Processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuInfo {
    /// Model of the first.
    pub model: String,
    /// Sockets in use.
    pub sockets: u16,
    /// Cores of all sockets.
    pub cores: u16,
    /// Hardware threads of all cores.
    pub threads: u16,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicInfo {
    /// Its name under this kernel.
    pub name: String,
    /// Permanent MAC address.
    pub mac: Mac,
    /// Kernel driver.
    pub driver: String,
    /// Place on the PCI bus.
    pub slot: String,
    /// Speed in Mbit/s; 0 if unknown.
    pub speed: u32,
    /// Whether the other end of the link is there.
    pub carrier: bool,
    /// What it is plugged into.
    pub neighbour: Option<Neighbour>,
}

/// The other end of a link, as it says of itself (LLDP, IEEE 802.1AB).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Chassis id.
    pub chassis: String,
    /// Port id.
    pub port: String,
    /// Name of the system.
    pub system: String,
    /// Description of the port.
    pub description: String,
    /// VLAN of untagged frames.
    pub vlan: Option<u16>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskInfo {
    /// Its name under this kernel.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Whether it spins.
    pub rotational: bool,
}

/// A display or 3D controller (PCI class 03).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInfo {
    /// Place on the PCI bus.
    pub slot: String,
    /// PCI vendor.
    pub vendor: u16,
    /// PCI device.
    pub device: u16,
    /// Kernel driver, if one is bound.
    pub driver: String,
}

/// A management controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcInfo {
    /// Its address on the management network.
    pub address: Option<IpAddr>,
    /// Its MAC address there.
    pub mac: Option<Mac>,
    /// How the machine speaks to it: `ipmi 2.0`, `redfish`, ….
    pub kind: String,
}

impl Inventory {
    /// What in it is longer than it may be.
    pub fn excess(&self) -> Option<&'static str> {
        if self.nics.len() > DISCOVER_NICS_MAX {
            return Some("network interfaces");
        }
        if self.disks.len() > DISCOVER_DISKS_MAX {
            return Some("disks");
        }
        if self.gpus.len() > DISCOVER_GPUS_MAX {
            return Some("GPUs");
        }
        let system = &self.system;
        let mut texts: Vec<&String> = vec![&self.arch, &self.cpu.model];
        texts.extend([&system.vendor, &system.product, &system.serial, &system.asset, &system.uuid, &system.firmware]);
        for nic in &self.nics {
            texts.extend([&nic.name, &nic.driver, &nic.slot]);
            let neighbour = nic.neighbour.iter();
            texts.extend(neighbour.flat_map(|one| [&one.chassis, &one.port, &one.system, &one.description]));
        }
        texts.extend(self.disks.iter().flat_map(|disk| [&disk.name, &disk.model, &disk.serial]));
        texts.extend(self.gpus.iter().flat_map(|gpu| [&gpu.slot, &gpu.driver]));
        texts.extend(self.bmc.iter().map(|bmc| &bmc.kind));
        texts.iter().any(|text| text.len() > DISCOVER_TEXT_MAX).then_some("texts")
    }

    /// Makes every text one that a terminal can show: control characters go, and what is too long is cut.
    pub fn tidy(&mut self) {
        let system = &mut self.system;
        let mut texts: Vec<&mut String> = vec![&mut self.arch, &mut self.cpu.model];
        texts.extend([&mut system.vendor, &mut system.product, &mut system.serial]);
        texts.extend([&mut system.asset, &mut system.uuid, &mut system.firmware]);
        for nic in &mut self.nics {
            texts.extend([&mut nic.name, &mut nic.driver, &mut nic.slot]);
            let neighbour = nic.neighbour.iter_mut();
            texts.extend(
                neighbour.flat_map(|one| [&mut one.chassis, &mut one.port, &mut one.system, &mut one.description]),
            );
        }
        texts.extend(self.disks.iter_mut().flat_map(|disk| [&mut disk.name, &mut disk.model, &mut disk.serial]));
        texts.extend(self.gpus.iter_mut().flat_map(|gpu| [&mut gpu.slot, &mut gpu.driver]));
        texts.extend(self.bmc.iter_mut().map(|bmc| &mut bmc.kind));
        for text in texts {
            *text = printable(text);
        }
        self.nics.truncate(DISCOVER_NICS_MAX);
        self.disks.truncate(DISCOVER_DISKS_MAX);
        self.gpus.truncate(DISCOVER_GPUS_MAX);
    }
}

/// A text without control characters and blanks around it, cut to [`DISCOVER_TEXT_MAX`] bytes.
pub fn printable(text: &str) -> String {
    let clean: String = text.chars().take(DISCOVER_TEXT_MAX).filter(|c| !c.is_control()).collect();
    let mut clean = clean.trim().to_owned();
    clean.truncate(clean.floor_char_boundary(DISCOVER_TEXT_MAX));
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CONTROL_REQUEST_MAX;
    use crate::wire::{ControlRequest, encode};

    fn largest() -> Inventory {
        let text = || "\u{e9}".repeat(DISCOVER_TEXT_MAX / 2);
        let neighbour =
            Neighbour { chassis: text(), port: text(), system: text(), description: text(), vlan: Some(4095) };
        let nic = NicInfo {
            name: text(),
            mac: Mac([255; 6]),
            driver: text(),
            slot: text(),
            speed: u32::MAX,
            carrier: true,
            neighbour: Some(neighbour),
        };
        let disk = DiskInfo { name: text(), size: u64::MAX, model: text(), serial: text(), rotational: true };
        let gpu = GpuInfo { slot: text(), vendor: u16::MAX, device: u16::MAX, driver: text() };
        Inventory {
            nics: vec![nic; DISCOVER_NICS_MAX],
            disks: vec![disk; DISCOVER_DISKS_MAX],
            gpus: vec![gpu; DISCOVER_GPUS_MAX],
            ..Inventory::default()
        }
    }

    #[test]
    fn the_largest_machine_fits_in_a_request_and_one_more_does_not_pass() {
        let mut inventory = largest();
        assert_eq!(inventory.excess(), None);
        let (mac, boot) = (Mac([2; 6]), BootId([1; 16]));
        let request = |inventory| DiscoverRequest {
            token: vec![0; 512],
            mac,
            boot,
            agent: String::new(),
            inventory,
            complete: true,
        };
        let bytes = encode(&ControlRequest::Discover(Box::new(request(inventory.clone()))));
        assert!(bytes.len() < CONTROL_REQUEST_MAX / 2, "{}", bytes.len());
        inventory.nics[0].name.push('x');
        assert_eq!(inventory.excess(), Some("texts"));
        inventory.nics.push(inventory.nics[1].clone());
        assert_eq!(inventory.excess(), Some("network interfaces"));
        inventory.tidy();
        assert_eq!(inventory.excess(), None);
    }

    #[test]
    fn a_text_cannot_command_a_terminal() {
        let mut inventory = Inventory::default();
        inventory.system.serial = " S\u{1b}[2JN\n1\u{9b}2 \0".into();
        inventory.tidy();
        assert_eq!(inventory.system.serial, "S[2JN12");
    }
}
