//! Client architectures: every code of the IANA registry "Processor Architecture Types" (DHCP option 93 of RFC 4578, DHCPv6
//! option 61 of RFC 5970), what firmware means by it, and the boot programs that distributions and `scripts/build-ipxe.sh` have
//! for it.

use core::fmt;
use core::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One code of the registry. Firmware may send any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Arch(pub u16);

/// What a boot program must be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// PC firmware before UEFI.
    Bios,
    /// UEFI of 32 bits on x86. The processor may well have 64 and boot a kernel of 64 bits.
    EfiX86,
    /// UEFI of 64 bits on x86.
    EfiX64,
    /// UEFI on 32-bit ARM.
    EfiArm32,
    /// UEFI on 64-bit ARM.
    EfiArm64,
    /// UEFI on 64-bit RISC-V.
    EfiRiscv64,
    /// UEFI on 64-bit LoongArch.
    EfiLoong64,
}

/// How the program comes to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// By TFTP.
    Tftp,
    /// By HTTP.
    Http,
}

use Carrier::{Http, Tftp};
use Platform::{Bios, EfiArm32, EfiArm64, EfiLoong64, EfiRiscv64, EfiX64, EfiX86};

/// Code, what it is, how it loads, and what program it takes; none where nobody makes an iPXE for it.
const CODES: [(u16, &str, Carrier, Option<Platform>); 42] = [
    (0x00, "BIOS", Tftp, Some(Bios)),
    (0x01, "NEC PC-98", Tftp, None),
    (0x02, "Itanium", Tftp, None),
    (0x03, "DEC Alpha", Tftp, None),
    (0x04, "ARC x86", Tftp, None),
    (0x05, "Intel Lean Client", Tftp, None),
    (0x06, "UEFI ia32", Tftp, Some(EfiX86)),
    (0x07, "UEFI x64", Tftp, Some(EfiX64)),
    (0x08, "EFI XScale", Tftp, None),
    // EFI byte code by the registry; RFC 4578 had it and 7 the other way round, and some x64 firmware still sends it.
    (0x09, "UEFI x64 (EBC)", Tftp, Some(EfiX64)),
    (0x0a, "UEFI ARM32", Tftp, Some(EfiArm32)),
    (0x0b, "UEFI ARM64", Tftp, Some(EfiArm64)),
    (0x0c, "PowerPC Open Firmware", Tftp, None),
    (0x0d, "PowerPC ePAPR", Tftp, None),
    (0x0e, "POWER OPAL", Tftp, None),
    (0x0f, "UEFI ia32 HTTP", Http, Some(EfiX86)),
    (0x10, "UEFI x64 HTTP", Http, Some(EfiX64)),
    (0x11, "UEFI x64 (EBC) HTTP", Http, Some(EfiX64)),
    (0x12, "UEFI ARM32 HTTP", Http, Some(EfiArm32)),
    (0x13, "UEFI ARM64 HTTP", Http, Some(EfiArm64)),
    (0x14, "BIOS HTTP", Http, Some(Bios)),
    (0x15, "U-Boot ARM32", Tftp, Some(EfiArm32)),
    (0x16, "U-Boot ARM64", Tftp, Some(EfiArm64)),
    (0x17, "U-Boot ARM32 HTTP", Http, Some(EfiArm32)),
    (0x18, "U-Boot ARM64 HTTP", Http, Some(EfiArm64)),
    (0x19, "UEFI RISC-V 32", Tftp, None),
    (0x1a, "UEFI RISC-V 32 HTTP", Http, None),
    (0x1b, "UEFI RISC-V 64", Tftp, Some(EfiRiscv64)),
    (0x1c, "UEFI RISC-V 64 HTTP", Http, Some(EfiRiscv64)),
    (0x1d, "UEFI RISC-V 128", Tftp, None),
    (0x1e, "UEFI RISC-V 128 HTTP", Http, None),
    (0x1f, "s390 basic", Tftp, None),
    (0x20, "s390 extended", Tftp, None),
    (0x21, "UEFI MIPS 32", Tftp, None),
    (0x22, "UEFI MIPS 64", Tftp, None),
    (0x23, "UEFI Sunway 32", Tftp, None),
    (0x24, "UEFI Sunway 64", Tftp, None),
    (0x25, "UEFI LoongArch 32", Tftp, None),
    (0x26, "UEFI LoongArch 32 HTTP", Http, None),
    (0x27, "UEFI LoongArch 64", Tftp, Some(EfiLoong64)),
    (0x28, "UEFI LoongArch 64 HTTP", Http, Some(EfiLoong64)),
    (0x29, "Raspberry Pi boot ROM", Tftp, None),
];

impl Arch {
    /// UEFI x64, HTTP boot: what a client that says no more than `HTTPClient` most likely is.
    pub const X64_HTTP: Self = Self(0x10);
    /// Whoever sends no option 93 is older than it.
    pub const BIOS: Self = Self(0);

    fn entry(self) -> Option<&'static (u16, &'static str, Carrier, Option<Platform>)> {
        CODES.get(usize::from(self.0))
    }

    /// All codes that are registered.
    pub fn all() -> impl Iterator<Item = Self> {
        CODES.iter().map(|(code, ..)| Self(*code))
    }

    /// What a program for it is made for; `None` where there is no iPXE for it.
    pub fn platform(self) -> Option<Platform> {
        self.entry().and_then(|(_, _, _, platform)| *platform)
    }

    /// Whether it loads by HTTP.
    pub fn loads_by_http(self) -> bool {
        self.entry().is_some_and(|(_, _, carrier, _)| *carrier == Http)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some((_, name, ..)) => f.write_str(name),
            None => write!(f, "architecture 0x{:04x}", self.0),
        }
    }
}

impl FromStr for Arch {
    type Err = &'static str;

    /// `00:07` as ISC dhcpd and Warewulf write it (two hexadecimal bytes), `0x0007`, or decimal.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "an architecture is written 00:07, 0x0007 or 7";
        let code = if let Some((high, low)) = text.split_once(':') {
            let byte = |part| u8::from_str_radix(part, 16);
            high_low(byte(high), byte(low))
        } else if let Some(hex) = text.strip_prefix("0x") {
            u16::from_str_radix(hex, 16).ok()
        } else {
            text.parse().ok()
        };
        code.map(Self).ok_or(WRONG)
    }
}

fn high_low<E>(high: Result<u8, E>, low: Result<u8, E>) -> Option<u16> {
    Some(u16::from_be_bytes([high.ok()?, low.ok()?]))
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 7] = [Bios, EfiX86, EfiX64, EfiArm32, EfiArm64, EfiRiscv64, EfiLoong64];

    /// Whether it is UEFI.
    pub const fn is_efi(self) -> bool {
        !matches!(self, Bios)
    }

    /// File names of boot programs for firmware, the best first: ours as `scripts/build-ipxe.sh` names them, then Debian's, then
    /// those of Enterprise Linux and SUSE. Under UEFI the one that drives the card through the firmware comes first.
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Bios => &["bin-x86_64-pcbios-undionly.kpxe", "bin-undionly.kpxe", "undionly.kpxe"],
            EfiX86 => &["bin-i386-efi-snponly.efi", "ipxe-snponly-i386.efi", "i386-efi/snponly.efi", "ipxe-i386.efi"],
            EfiX64 => &[
                "bin-x86_64-efi-snponly.efi",
                "snponly.efi",
                "ipxe-snponly-x86_64.efi",
                "snponly-x86_64.efi",
                "ipxe.efi",
                "ipxe-x86_64.efi",
            ],
            EfiArm32 => &["bin-arm32-efi-snponly.efi", "snponly-arm32.efi"],
            EfiArm64 => &[
                "bin-arm64-efi-snponly.efi",
                "snponly-arm64.efi",
                "arm64-efi/snponly.efi",
                "ipxe-snponly-aarch64.efi",
                "ipxe-arm64.efi",
            ],
            EfiRiscv64 => &["bin-riscv64-efi-snponly.efi", "snponly-riscv64.efi"],
            EfiLoong64 => &["bin-loong64-efi-snponly.efi", "snponly-loong64.efi"],
        }
    }

    /// The same for an iPXE that is chained: on BIOS its UNDI is gone, so that the program needs drivers of its own.
    pub const fn chained_programs(self) -> &'static [&'static str] {
        match self {
            Bios => &["bin-x86_64-pcbios-ipxe.pxe", "bin-ipxe.pxe", "ipxe.pxe"],
            _ => self.programs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_code_is_at_its_place_and_knows_how_it_loads() {
        for (index, (code, name, carrier, _)) in CODES.iter().enumerate() {
            assert_eq!(usize::from(*code), index, "{name}");
            assert_eq!(*carrier == Http, name.ends_with("HTTP"), "{name}");
        }
        assert_eq!(Arch::all().count(), 42);
        let platforms: Vec<_> = [0u16, 6, 7, 9, 0x0b, 0x0f, 0x10, 0x13, 0x16].map(|code| Arch(code).platform()).into();
        let expected = [Bios, EfiX86, EfiX64, EfiX64, EfiArm64, EfiX86, EfiX64, EfiArm64, EfiArm64].map(Some).to_vec();
        assert_eq!(platforms, expected);
        assert_eq!(
            (Arch(0x25).platform(), Arch(0x27).platform()),
            (None, Some(EfiLoong64)),
            "hexadecimal, not decimal"
        );
        assert!(Arch(0x10).loads_by_http() && !Arch(7).loads_by_http() && !Arch(0xffff).loads_by_http());
    }

    #[test]
    fn codes_are_read_as_people_write_them() {
        for (text, code) in [("00:07", 7), ("00:0B", 0xb), ("0x0010", 16), ("0x7", 7), ("16", 16)] {
            assert_eq!(text.parse(), Ok(Arch(code)), "{text}");
        }
        for text in ["", "x64", "00:7:1", "0x", "70000"] {
            assert!(text.parse::<Arch>().is_err(), "{text}");
        }
        assert_eq!(Arch(7).to_string(), "UEFI x64");
        assert_eq!(Arch(0x1234).to_string(), "architecture 0x1234");
    }
}
