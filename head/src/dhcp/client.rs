//! What kind of program asks; what it is given to boot, `boot/matrix.rs` says.

use super::packet::{Request, code, parts};
use crate::boot::{Arch, Client};

/// User class (option 77) of our own network boot program and scripts.
const OUR_CLASS: &[u8] = b"wulfpack";
/// Features in iPXE's option 175 (ipxe/src/include/ipxe/features.h).
const FEATURE_HTTP: u8 = 19;
const FEATURE_BZIMAGE: u8 = 24;
const FEATURE_EFI: u8 = 36;

impl Client {
    /// Looks at option 77 and 175 first, then 60, then 93: chained programs repeat the firmware's options 60 and 93.
    pub fn of(request: &Request) -> Self {
        if request.has_user_class(OUR_CLASS) {
            return Self::OurIpxe;
        }
        let arch =
            request.option(code::ARCHITECTURE).and_then(|list| list.first_chunk()).map(|two| u16::from_be_bytes(*two));
        if request.has_user_class(b"iPXE") || request.option(code::IPXE).is_some() {
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
            return Self::HttpBoot(arch.or_else(|| arch_of_class(vendor)).unwrap_or(Arch::X64_HTTP.0));
        }
        Self::System
    }

    /// Whether it is iPXE.
    pub(super) const fn is_ipxe(self) -> bool {
        matches!(self, Self::OurIpxe | Self::ForeignIpxe { .. })
    }
}

/// `PXEClient:Arch:00007:UNDI:003016`
fn arch_of_class(class: &[u8]) -> Option<u16> {
    core::str::from_utf8(class).ok()?.split(':').nth(2)?.parse().ok()
}
