//! How an initramfs archive is compressed.

use core::fmt;
use core::str::FromStr;

/// What the kernel has to unpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InitramfsFormat {
    /// A cpio archive as it is.
    Plain,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by Zstandard.
    Zstd,
    /// Compressed by XZ.
    Xz,
}

impl InitramfsFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Gzip, Self::Zstd, Self::Xz];

    /// What this archive is, by its first bytes (Linux, lib/decompress.c). An image's modules are packed as its kernel can unpack
    /// them, so whatever goes with them is packed in the same way.
    pub fn of(archive: &[u8]) -> Option<Self> {
        match archive {
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => Some(Self::Plain),
            [0x1f, 0x8b | 0x9e, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }

    /// Its name in URLs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
        }
    }
}

impl fmt::Display for InitramfsFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for InitramfsFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or("an initramfs is plain, gzip, zstd or xz")
    }
}
