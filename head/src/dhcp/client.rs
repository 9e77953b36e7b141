//! What kind of program asks, and what it is given to boot.

use core::fmt;

use super::packet::{Request, code, parts};

/// User class (option 77) of our own network boot program and scripts.
const OUR_CLASS: &[u8] = b"wulfpack";
/// Features in iPXE's option 175 (ipxe/src/include/ipxe/features.h).
const FEATURE_HTTP: u8 = 19;
const FEATURE_BZIMAGE: u8 = 24;
const FEATURE_EFI: u8 = 36;

/// What kind of program sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// iPXE that runs one of our scripts or carries our user class.
    OurIpxe,
    /// Any other iPXE.
    ForeignIpxe {
        /// Whether it can load a kernel over HTTP by itself.
        able: bool,
        /// Its architecture (option 93); iPXE without one is a BIOS program.
        arch: u16,
    },
    /// PXE firmware with this architecture (option 93; IANA "Processor Architecture Types").
    Pxe(u16),
    /// UEFI HTTP boot with this architecture.
    HttpBoot(u16),
    /// An operating system, or the agent.
    System,
}

impl Client {
    /// Looks at option 77 and 175 first, then 60, then 93: chained programs repeat the firmware's options 60 and 93.
    pub fn of(request: &Request) -> Self {
        let class = request.option(code::USER_CLASS).unwrap_or_default();
        if is_class(class, OUR_CLASS) {
            return Self::OurIpxe;
        }
        let arch =
            request.option(code::ARCHITECTURE).and_then(|list| list.first_chunk()).map(|two| u16::from_be_bytes(*two));
        if is_class(class, b"iPXE") || request.option(code::IPXE).is_some() {
            let features = request.option(code::IPXE).unwrap_or_default();
            let has =
                |feature| parts(features).any(|(code, value)| code == feature && value.iter().any(|byte| *byte != 0));
            let able = has(FEATURE_HTTP) && (has(FEATURE_BZIMAGE) || has(FEATURE_EFI));
            return Self::ForeignIpxe { able, arch: arch.unwrap_or(0) };
        }
        let vendor = request.option(code::CLASS).unwrap_or_default();
        if vendor.starts_with(b"PXEClient") {
            return Self::Pxe(arch.or_else(|| arch_of_class(vendor)).unwrap_or(0));
        }
        if vendor.starts_with(b"HTTPClient") {
            return Self::HttpBoot(arch.or_else(|| arch_of_class(vendor)).unwrap_or(0x10));
        }
        Self::System
    }

    /// Whether it is on its way to a boot, and not an operating system that wants an address.
    pub const fn boots(self) -> bool {
        !matches!(self, Self::System)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OurIpxe => f.write_str("iPXE"),
            Self::ForeignIpxe { able: true, .. } => f.write_str("iPXE of the machine"),
            Self::ForeignIpxe { able: false, .. } => f.write_str("iPXE without HTTP or kernels"),
            Self::Pxe(arch) => write!(f, "PXE {}", arch_name(*arch)),
            Self::HttpBoot(arch) => write!(f, "UEFI HTTP boot {}", arch_name(*arch)),
            Self::System => f.write_str("operating system"),
        }
    }
}

/// iPXE sends its user class bare; RFC 3004 wants a length before each.
fn is_class(option: &[u8], class: &[u8]) -> bool {
    option == class || option.split_first().is_some_and(|(len, rest)| usize::from(*len) == class.len() && rest == class)
}

/// `PXEClient:Arch:00007:UNDI:003016`
fn arch_of_class(class: &[u8]) -> Option<u16> {
    core::str::from_utf8(class).ok()?.split(':').nth(2)?.parse().ok()
}

fn arch_name(arch: u16) -> String {
    match arch {
        0 => "BIOS".into(),
        7 | 9 | 0x10 => "UEFI x64".into(),
        0x0b | 0x13 => "UEFI ARM64".into(),
        other => format!("architecture 0x{other:04x}"),
    }
}

/// Names of the network boot programs on the TFTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nbps {
    /// For PXE firmware on BIOS: drives the card through the firmware (UNDI).
    pub bios: String,
    /// For a foreign iPXE on BIOS, whose UNDI is gone: has drivers of its own.
    pub bios_chained: String,
    /// For UEFI on x64.
    pub uefi: String,
}

impl Default for Nbps {
    fn default() -> Self {
        Self { bios: "undionly.kpxe".into(), bios_chained: "ipxe.pxe".into(), uefi: "snponly.efi".into() }
    }
}

/// What a client is told to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BootFile {
    /// The boot script, by URL.
    Script,
    /// A network boot program, by TFTP.
    Nbp(String),
    /// Nothing, and why.
    None(&'static str),
}

impl Nbps {
    /// What `client` is told; `given` says that this machine was given a boot program a moment ago and has come back as iPXE:
    /// giving it again would go round in circles.
    pub(super) fn boot_file(&self, client: Client, given: bool) -> BootFile {
        match client {
            Client::OurIpxe | Client::ForeignIpxe { able: true, .. } => BootFile::Script,
            Client::ForeignIpxe { .. } if given => BootFile::Script,
            Client::ForeignIpxe { arch: 0, .. } => BootFile::Nbp(self.bios_chained.clone()),
            Client::ForeignIpxe { arch: 7 | 9, .. } | Client::Pxe(7 | 9) => BootFile::Nbp(self.uefi.clone()),
            Client::Pxe(0) => BootFile::Nbp(self.bios.clone()),
            Client::ForeignIpxe { .. } | Client::Pxe(_) => {
                BootFile::None("no boot file: only BIOS and UEFI x64 are supported")
            }
            Client::HttpBoot(_) => {
                BootFile::None("no boot file: UEFI HTTP boot is not supported, select PXE in the firmware")
            }
            Client::System => BootFile::None("address only"),
        }
    }
}
