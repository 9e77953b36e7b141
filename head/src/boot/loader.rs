//! Boot loaders: whose scripts we write, and which of them Secure Boot knows.

/// Which loader reads a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// iPXE.
    Ipxe,
    /// GRUB.
    Grub,
}

/// A boot loader that Secure Boot knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignedLoader {
    /// What the firmware's vendor key signed; it brings the distribution's key.
    Shim,
    /// The distribution's GRUB.
    Grub,
}

impl SignedLoader {
    /// Its name for firmware; shim looks for GRUB by this name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shim => "shimx64.efi",
            Self::Grub => "grubx64.efi",
        }
    }

    /// The loader with this name, in whatever letters.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Shim, Self::Grub].into_iter().find(|loader| loader.name().eq_ignore_ascii_case(name))
    }
}
