//! What a module says of itself (the `.modinfo` section, modinfo(8)) and what it asks of the kernel.

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// Every Ethernet driver allocates its device with one of these.
const ETHERNET_SYMBOLS: [&str; 3] = ["alloc_etherdev_mqs", "devm_alloc_etherdev_mqs", "alloc_netdev_mqs"];

/// The interesting part of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModInfo {
    /// Names of firmware files that it may ask for.
    pub(super) firmware: Vec<String>,
    /// It binds to hardware by itself and makes network devices.
    pub(super) drives_nic: bool,
}

impl ModInfo {
    /// Reads an uncompressed module; a signature after its end does not matter.
    ///
    /// # Errors
    /// Says why it is no module.
    pub(super) fn parse(module: &[u8]) -> Result<Self, object::Error> {
        let file = object::File::parse(module)?;
        let section = file.section_by_name(".modinfo").map(|section| section.data()).transpose()?.unwrap_or_default();
        let mut info = Self::default();
        let mut bound = false;
        for field in section.split(|&byte| byte == 0) {
            let Some((key, value)) = std::str::from_utf8(field).ok().and_then(|field| field.split_once('=')) else {
                continue;
            };
            match key {
                // The kernel asks for them below /lib/firmware; a name with `..` would leave it.
                "firmware" if !value.split('/').any(|part| part == "..") => info.firmware.push(value.to_owned()),
                "alias" => {
                    bound |= ["pci:", "of:", "acpi", "vmbus:", "virtio:", "auxiliary:", "usb:"]
                        .iter()
                        .any(|bus| value.starts_with(bus))
                }
                _ => {}
            }
        }
        info.drives_nic = bound
            && file.symbols().any(|symbol| {
                symbol.is_undefined() && symbol.name().is_ok_and(|name| ETHERNET_SYMBOLS.contains(&name))
            });
        Ok(info)
    }
}
