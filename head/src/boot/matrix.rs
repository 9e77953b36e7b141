//! What each kind of firmware is told to load: the firmware matrix. Pure, and the same for DHCP, proxy DHCP and DHCPv6.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use super::arch::{Arch, Platform};

/// The node's own wishes for how it boots; what it does not say, the head's configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BootChoice {
    /// Whether UEFI firmware is given shim and GRUB instead of iPXE (Secure Boot).
    pub grub: Option<bool>,
    /// Boot program, whatever the architecture.
    pub program: Option<String>,
}

/// What kind of program sent a DHCP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// iPXE that runs one of our scripts or carries our user class.
    OurIpxe,
    /// Any other iPXE.
    ForeignIpxe {
        /// Whether it can load a kernel over HTTP by itself.
        able: bool,
        /// Its architecture; iPXE without one is a BIOS program.
        arch: u16,
    },
    /// PXE firmware with this architecture.
    Pxe(u16),
    /// UEFI HTTP boot with this architecture.
    HttpBoot(u16),
    /// An operating system, or the agent.
    System,
}

impl Client {
    /// Whether it is on its way to a boot, and not an operating system that wants an address.
    pub const fn boots(self) -> bool {
        !matches!(self, Self::System)
    }

    /// Its architecture, where it matters for what it loads.
    pub const fn arch(self) -> Option<Arch> {
        match self {
            Self::ForeignIpxe { arch, .. } | Self::Pxe(arch) | Self::HttpBoot(arch) => Some(Arch(arch)),
            Self::OurIpxe | Self::System => None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OurIpxe => f.write_str("iPXE"),
            Self::ForeignIpxe { able: true, .. } => f.write_str("iPXE of the machine"),
            Self::ForeignIpxe { able: false, .. } => f.write_str("iPXE without HTTP or kernels"),
            Self::Pxe(arch) => write!(f, "PXE {}", Arch(*arch)),
            Self::HttpBoot(arch) => write!(f, "HTTP boot {}", Arch(*arch)),
            Self::System => f.write_str("operating system"),
        }
    }
}

/// What a client is told to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootFile {
    /// The boot script, by URL.
    Script,
    /// A network boot program, by this name on the TFTP server.
    Nbp(String),
    /// A network boot program, by this path on the HTTP boot service. The answer names the class `HTTPClient`.
    Http(String),
    /// Nothing, and why.
    None(&'static str),
}

/// Path on the HTTP boot service of a network boot program.
pub fn program_path(name: &str) -> String {
    format!("/nbp/{name}")
}

/// Name of a machine's shim, on the TFTP server and, after a slash, on the HTTP boot service. shim looks for GRUB beside itself.
pub fn shim_name(mac: wulfpack_shared::id::Mac) -> String {
    format!("grub/{}/shimx64.efi", mac.dashed())
}

/// The network boot programs of this head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nbps {
    /// For firmware.
    firmware: BTreeMap<Platform, String>,
    /// For a foreign iPXE.
    chained: BTreeMap<Platform, String>,
    /// The administrator's word, before both.
    named: BTreeMap<Arch, String>,
    /// Whether UEFI x64 gets shim and GRUB where the node does not say.
    grub: bool,
}

impl Default for Nbps {
    /// As if every program had its first name in Debian, which is what tests want.
    fn default() -> Self {
        let debian = ["undionly.kpxe", "ipxe.pxe", "snponly.efi", "snponly-arm64.efi", "ipxe-snponly-i386.efi"];
        Self::of(&debian.map(String::from).into(), BTreeMap::new(), false)
    }
}

impl Nbps {
    /// What can be handed out of `files`, by the names that are known; `named` is the administrator's map, `grub` the default.
    pub fn of(files: &BTreeSet<String>, named: BTreeMap<Arch, String>, grub: bool) -> Self {
        let pick = |names: fn(Platform) -> &'static [&'static str]| {
            let found = |platform: Platform| {
                names(platform).iter().find(|name| files.contains(**name)).map(|name| (platform, (*name).to_owned()))
            };
            Platform::ALL.into_iter().filter_map(found).collect()
        };
        Self { firmware: pick(Platform::programs), chained: pick(Platform::chained_programs), named, grub }
    }

    /// What `client` is told. `given` says that this machine was given a boot program a moment ago and has come back as iPXE:
    /// giving it again would go round in circles.
    pub fn boot_file(
        &self,
        client: Client,
        mac: wulfpack_shared::id::Mac,
        choice: &BootChoice,
        given: bool,
    ) -> BootFile {
        let by_http = match client {
            Client::System => return BootFile::None("address only"),
            Client::OurIpxe => return BootFile::Script,
            Client::ForeignIpxe { .. } | Client::Pxe(_) => false,
            // Firmware that says HTTPClient means it, whatever architecture it names.
            Client::HttpBoot(_) => true,
        };
        let arch = client.arch().unwrap_or(Arch::BIOS);
        let platform = arch.platform();
        let is_ipxe = matches!(client, Client::ForeignIpxe { .. });
        // The shim of a distribution is there for one platform; iPXE in a card's ROM under Secure Boot could load it too.
        let grub = choice.grub.unwrap_or(self.grub) && platform == Some(Platform::EfiX64) && !(is_ipxe && given);
        if is_ipxe && !grub && (given || matches!(client, Client::ForeignIpxe { able: true, .. })) {
            return BootFile::Script;
        }
        let chosen = choice.program.as_ref().or_else(|| self.named.get(&arch)).cloned();
        let shim = grub.then(|| shim_name(mac));
        let list = if is_ipxe { &self.chained } else { &self.firmware };
        let Some(name) = chosen.or_else(|| shim.clone()).or_else(|| list.get(&platform?).cloned()) else {
            return BootFile::None(match platform {
                None => "no boot file: nobody makes a boot program for this architecture",
                Some(_) => {
                    "no boot file: this head has no boot program for this architecture, scripts/build-ipxe.sh makes one"
                }
            });
        };
        match (by_http, shim.as_ref() == Some(&name)) {
            (false, _) => BootFile::Nbp(name),
            (true, true) => BootFile::Http(format!("/{name}")),
            (true, false) => BootFile::Http(program_path(&name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::id::Mac;

    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    const NOTHING: BootChoice = BootChoice { grub: None, program: None };

    fn nbp(name: &str) -> BootFile {
        BootFile::Nbp(name.into())
    }

    #[test]
    fn each_firmware_gets_what_it_can_run() {
        let nbps = Nbps::default();
        let told = |client| nbps.boot_file(client, MAC, &NOTHING, false);
        assert_eq!(told(Client::Pxe(0)), nbp("undionly.kpxe"));
        assert_eq!(told(Client::Pxe(6)), nbp("ipxe-snponly-i386.efi"));
        assert_eq!(told(Client::Pxe(7)), nbp("snponly.efi"));
        assert_eq!(told(Client::Pxe(9)), nbp("snponly.efi"));
        assert_eq!(told(Client::Pxe(0x0b)), nbp("snponly-arm64.efi"));
        assert_eq!(told(Client::HttpBoot(0x10)), BootFile::Http("/nbp/snponly.efi".into()));
        assert_eq!(told(Client::HttpBoot(0x13)), BootFile::Http("/nbp/snponly-arm64.efi".into()));
        assert_eq!(told(Client::OurIpxe), BootFile::Script);
        assert_eq!(told(Client::ForeignIpxe { able: true, arch: 7 }), BootFile::Script);
        assert_eq!(told(Client::ForeignIpxe { able: false, arch: 0 }), nbp("ipxe.pxe"), "its UNDI is gone");
        assert_eq!(told(Client::System), BootFile::None("address only"));
        for odd in [0x02, 0x0e, 0x1f, 0x29, 0x4242] {
            let BootFile::None(why) = told(Client::Pxe(odd)) else { panic!("{odd:#x} was given something") };
            assert!(why.contains("nobody makes"), "{why}");
        }
    }

    #[test]
    fn a_head_without_the_program_says_how_to_get_one() {
        let nbps = Nbps::of(&["snponly.efi".into()].into(), BTreeMap::new(), false);
        let BootFile::None(why) = nbps.boot_file(Client::Pxe(0x0b), MAC, &NOTHING, false) else { panic!() };
        assert!(why.contains("build-ipxe.sh"), "{why}");
        assert_eq!(nbps.boot_file(Client::Pxe(7), MAC, &NOTHING, false), nbp("snponly.efi"));
    }

    #[test]
    fn no_firmware_goes_round_in_circles() {
        let nbps = Nbps::default();
        let grub = BootChoice { grub: Some(true), ..NOTHING };
        for arch in [0, 6, 7, 0x0b] {
            for choice in [&NOTHING, &grub] {
                let client = Client::ForeignIpxe { able: false, arch };
                assert_eq!(nbps.boot_file(client, MAC, choice, true), BootFile::Script, "{arch:#x}");
            }
        }
    }

    #[test]
    fn our_own_builds_come_before_those_of_the_distribution() {
        let files = ["bin-x86_64-efi-snponly.efi", "snponly.efi", "undionly.kpxe"].map(String::from).into();
        let nbps = Nbps::of(&files, BTreeMap::new(), false);
        assert_eq!(nbps.boot_file(Client::Pxe(7), MAC, &NOTHING, false), nbp("bin-x86_64-efi-snponly.efi"));
        assert_eq!(nbps.boot_file(Client::Pxe(0), MAC, &NOTHING, false), nbp("undionly.kpxe"));
    }

    #[test]
    fn head_and_node_choose_programs_and_grub() {
        let named = [(Arch(7), "special.efi".to_owned())].into();
        let nbps = Nbps::of(&["snponly.efi".to_owned(), "undionly.kpxe".to_owned()].into(), named, true);
        assert_eq!(nbps.boot_file(Client::Pxe(7), MAC, &NOTHING, false), nbp("special.efi"), "the head's word");
        let shim = "grub/52-54-00-00-00-01/shimx64.efi";
        assert_eq!(nbps.boot_file(Client::Pxe(9), MAC, &NOTHING, false), nbp(shim));
        let http = Client::HttpBoot(0x10);
        assert_eq!(nbps.boot_file(http, MAC, &NOTHING, false), BootFile::Http(format!("/{shim}")));
        assert_eq!(
            nbps.boot_file(Client::Pxe(0), MAC, &NOTHING, false),
            nbp("undionly.kpxe"),
            "there is no shim for BIOS"
        );
        let rom = Client::ForeignIpxe { able: true, arch: 7 };
        let plain = BootChoice { grub: Some(true), ..NOTHING };
        let unnamed = Nbps::default();
        assert_eq!(unnamed.boot_file(rom, MAC, &plain, false), nbp(shim), "Secure Boot with iPXE in the card");
        let off = BootChoice { grub: Some(false), ..NOTHING };
        assert_eq!(nbps.boot_file(Client::Pxe(9), MAC, &off, false), nbp("snponly.efi"), "the node's word");
        let own = BootChoice { program: Some("old.kpxe".into()), ..NOTHING };
        assert_eq!(nbps.boot_file(Client::Pxe(0), MAC, &own, false), nbp("old.kpxe"));
    }
}
