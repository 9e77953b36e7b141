//! Firmware files that modules ask for, where the kernel's loader would look for them
//! (Documentation/driver-api/firmware/fw_search_path.rst of the kernel).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cpio::Archive;
use super::unpack;
use crate::image::ImageError;
use crate::image::kernel::{KernelConfig, Support};
use crate::image::tree::Tree;

/// Largest firmware file, unpacked. Bytes.
const FIRMWARE_MAX: u64 = 256 << 20;

/// Collects firmware of one kernel.
#[derive(Debug)]
pub(super) struct Firmware<'a> {
    tree: &'a Tree,
    directories: [String; 4],
    keep_xz: bool,
    keep_zstd: bool,
    /// Name in the archive of each file on the head that is in it already.
    packed: BTreeMap<PathBuf, String>,
}

impl<'a> Firmware<'a> {
    pub(super) fn new(tree: &'a Tree, release: &str, config: &KernelConfig) -> Self {
        let directories = [
            format!("lib/firmware/updates/{release}"),
            "lib/firmware/updates".into(),
            format!("lib/firmware/{release}"),
            "lib/firmware".into(),
        ];
        let can = |option| config.get(option) == Support::Builtin;
        // Before 5.19 there was only one option, and it meant xz.
        let keep_xz = can("FW_LOADER_COMPRESS_XZ") || (can("FW_LOADER_COMPRESS") && !can("FW_LOADER_COMPRESS_ZSTD"));
        Self { tree, directories, keep_xz, keep_zstd: can("FW_LOADER_COMPRESS_ZSTD"), packed: BTreeMap::new() }
    }

    /// Adds a file to the archive; `false` if the image does not have it.
    ///
    /// # Errors
    /// Where it is there but cannot be read or unpacked.
    pub(super) fn add(&mut self, name: &str, archive: &mut Archive) -> Result<bool, ImageError> {
        let found = self.directories.iter().find_map(|directory| {
            ["", ".zst", ".xz"].iter().find_map(|suffix| {
                let path = format!("{directory}/{name}{suffix}");
                let place = self.tree.resolve(&path).ok().filter(|place| place.is_file())?;
                Some((path, place, *suffix))
            })
        });
        let Some((path, place, suffix)) = found else { return Ok(false) };
        let keep = match suffix {
            ".xz" => self.keep_xz,
            ".zst" => self.keep_zstd,
            _ => true,
        };
        let target = if keep { path.clone() } else { path.strip_suffix(suffix).unwrap_or(&path).to_owned() };
        if let Some(first) = self.packed.get(&place) {
            if *first != target {
                archive.link(&target, &format!("/{first}"));
            }
            return Ok(true);
        }
        let bytes = std::fs::read(&place).and_then(|bytes| if keep { Ok(bytes) } else { unpack(bytes, FIRMWARE_MAX) });
        let bytes = bytes.map_err(|error| ImageError::Module { path, why: error.to_string() })?;
        archive.file(&target, 0o644, bytes);
        self.packed.insert(place, target);
        Ok(true)
    }
}
