//! What a kernel can do, by the configuration it was built with.

use std::collections::BTreeMap;
use std::io;

use wulfpack_shared::image::Compression;

use crate::image::initramfs::ArchiveCompression;
use crate::image::tree::Tree;

/// How a kernel has a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::image) enum Support {
    /// `=y`
    Builtin,
    /// `=m`
    Module,
    /// Not set.
    Missing,
    /// The configuration was not found.
    Unknown,
}

/// The configuration of one kernel; empty where the image does not hold it.
#[derive(Clone, Debug, Default)]
pub(in crate::image) struct KernelConfig(Option<BTreeMap<String, Support>>);

impl KernelConfig {
    /// Reads `/lib/modules/RELEASE/config`, else `/boot/config-RELEASE`.
    pub(in crate::image) fn load(tree: &Tree, release: &str) -> io::Result<Self> {
        for path in [format!("lib/modules/{release}/config"), format!("boot/config-{release}")] {
            let text = tree.text(path)?;
            if !text.is_empty() {
                return Ok(Self::parse(&text));
            }
        }
        Ok(Self::default())
    }

    fn parse(text: &str) -> Self {
        let set = text.lines().filter_map(|line| {
            let (name, value) = line.trim().strip_prefix("CONFIG_")?.split_once('=')?;
            let support = match value {
                "y" => Support::Builtin,
                "m" => Support::Module,
                _ => return None,
            };
            Some((name.to_owned(), support))
        });
        Self(Some(set.collect()))
    }

    /// How the kernel has `CONFIG_<name>`.
    pub(in crate::image) fn get(&self, name: &str) -> Support {
        match &self.0 {
            None => Support::Unknown,
            Some(set) => set.get(name).copied().unwrap_or(Support::Missing),
        }
    }

    fn builtin(&self, name: &str) -> bool {
        self.get(name) == Support::Builtin
    }

    /// Whether the configuration was found.
    pub(in crate::image) const fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this kernel reads a squashfs with this compression. Of an unknown kernel only gzip is expected.
    pub(in crate::image) fn reads(&self, compression: Compression) -> bool {
        match compression {
            Compression::Zstd => self.builtin("SQUASHFS_ZSTD"),
            Compression::Xz => self.builtin("SQUASHFS_XZ"),
            Compression::Gzip => !self.is_known() || self.builtin("SQUASHFS_ZLIB"),
        }
    }

    /// The best compression of an initramfs that this kernel reads.
    pub(in crate::image) fn archive_compression(&self) -> ArchiveCompression {
        let choices = [
            ("RD_ZSTD", ArchiveCompression::Zstd),
            ("RD_XZ", ArchiveCompression::Xz),
            ("RD_GZIP", ArchiveCompression::Gzip),
        ];
        match choices.iter().find(|(option, _)| self.builtin(option)) {
            Some((_, compression)) => *compression,
            None if self.is_known() => ArchiveCompression::None,
            None => ArchiveCompression::Gzip,
        }
    }
}

/// The best squashfs compression that all kernels of an image read: zstd, else gzip, else xz (which unpacks slowest).
pub(in crate::image) fn common_compression<'a>(
    kernels: impl Iterator<Item = &'a KernelConfig> + Clone,
) -> Option<Compression> {
    [Compression::Zstd, Compression::Gzip, Compression::Xz]
        .into_iter()
        .find(|&compression| kernels.clone().all(|kernel| kernel.reads(compression)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EL8: &str = "CONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_ZLIB=y\nCONFIG_SQUASHFS_XZ=y\nCONFIG_RD_GZIP=y\nCONFIG_RD_XZ=y\n# CONFIG_SQUASHFS_ZSTD is not set\n";
    const DEBIAN: &str = "CONFIG_SQUASHFS_ZLIB=y\nCONFIG_SQUASHFS_ZSTD=y\nCONFIG_RD_ZSTD=y\nCONFIG_RD_GZIP=y\n";

    #[test]
    fn compression_follows_the_configuration() {
        let (el8, debian, unknown) = (KernelConfig::parse(EL8), KernelConfig::parse(DEBIAN), KernelConfig::default());
        assert_eq!(el8.get("SQUASHFS"), Support::Module);
        assert_eq!(el8.get("SQUASHFS_ZSTD"), Support::Missing);
        assert_eq!(unknown.get("SQUASHFS"), Support::Unknown);
        assert_eq!(el8.archive_compression(), ArchiveCompression::Xz);
        assert_eq!(debian.archive_compression(), ArchiveCompression::Zstd);
        assert_eq!(unknown.archive_compression(), ArchiveCompression::Gzip);
        assert_eq!(KernelConfig::parse("CONFIG_X=y").archive_compression(), ArchiveCompression::None);
        assert_eq!(common_compression([&debian].into_iter()), Some(Compression::Zstd));
        assert_eq!(common_compression([&debian, &el8].into_iter()), Some(Compression::Gzip));
        assert_eq!(common_compression([&debian, &unknown].into_iter()), Some(Compression::Gzip));
        let xz = KernelConfig::parse("CONFIG_SQUASHFS_XZ=y");
        assert_eq!(common_compression([&xz].into_iter()), Some(Compression::Xz));
        assert_eq!(common_compression([&xz, &debian].into_iter()), None);
    }
}
