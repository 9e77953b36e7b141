//! The smallest root file system that an image can be built from.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cleanup::{Guard, Undo};
use super::paths::cache_dir;

/// Release of its kernel.
pub const TINY_RELEASE: &str = "6.1.0-tiny";

/// Makes it in `root`, with `len` bytes in `etc/content` that do not get smaller, others for another `seed`. Its kernel has
/// everything built in; nothing of it runs.
pub fn tiny_root(root: &Path, len: usize, seed: u8) -> Result<()> {
    let modules = root.join("usr/lib/modules").join(TINY_RELEASE);
    for folder in [&modules, &root.join("etc"), &root.join("boot")] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    symlink("usr/lib", root.join("lib"))?;
    // depmod leaves no empty index: one module that nothing asks for.
    fs::write(modules.join("modules.dep"), "kernel/spare.ko:\n")?;
    for name in ["modules.alias", "modules.softdep", "modules.builtin", "modules.order"] {
        fs::write(modules.join(name), "")?;
    }
    let config = "CONFIG_BLK_DEV_LOOP=y\nCONFIG_SQUASHFS=y\nCONFIG_SQUASHFS_XATTR=y\nCONFIG_SQUASHFS_ZLIB=y\n\
                  CONFIG_OVERLAY_FS=y\nCONFIG_RD_GZIP=y\n";
    fs::write(modules.join("config"), config)?;
    fs::write(root.join("boot").join(format!("vmlinuz-{TINY_RELEASE}")), "a kernel")?;
    Ok(fs::write(root.join("etc/content"), noise(len, seed))?)
}

/// A root file system whose image has `mib` MiB, kept until it is asked for again.
pub fn sized_root(mib: usize) -> Result<PathBuf> {
    let root = cache_dir()?.join(format!("noise-{mib}"));
    if !root.join("etc/content").is_file() {
        let partial = root.with_extension("partial");
        let guard = Guard::new(Undo::Remove(partial.clone()));
        tiny_root(&partial, mib << 20, 1)?;
        fs::rename(&partial, &root).with_context(|| format!("keep {}", root.display()))?;
        drop(guard);
    }
    Ok(root)
}

/// Bytes that do not get smaller.
pub fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}
