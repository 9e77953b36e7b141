//! A root file system as an initramfs, and a node's own files as a second one behind it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::harness::{KeyPair, Port, cache_dir, run};

/// Kernel and root file system of one image, as iPXE loads them.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The kernel.
    pub kernel: PathBuf,
    /// The whole root as cpio.gz.
    pub root: PathBuf,
}

impl Archive {
    /// Makes both from a tar of the root; they stay in the cache beside those of other roots.
    pub fn of(tar: &Path) -> Result<Self> {
        let name = tar.file_stem().context("the root file system's archive has no name")?;
        let dir = cache_dir()?.join("baseline").join(name);
        let archive = Self { kernel: dir.join("vmlinuz"), root: dir.join("root.cpio.gz") };
        if archive.root.exists() {
            return Ok(archive);
        }
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let tree = tempfile::tempdir_in(&dir)?;
        run(Command::new("tar").args(["--numeric-owner", "-xpf"]).arg(tar).arg("-C").arg(tree.path()))?;
        let boot = tree.path().join("boot");
        let kernel = fs::read_dir(&boot)?
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"))
            .with_context(|| format!("{} has no kernel in /boot", tar.display()))?;
        fs::copy(kernel.path(), &archive.kernel)?;
        fs::set_permissions(&archive.kernel, fs::Permissions::from_mode(0o644))?;
        let partial = dir.join("partial");
        pack(tree.path(), &partial, "| gzip")?;
        fs::rename(&partial, &archive.root)?;
        Ok(archive)
    }
}

/// Packs a tree in the kernel's initramfs format, through `filter`, padded to a multiple of four bytes: the EFI stub puts
/// archives directly behind each other, and the kernel finds the next one only at such an address.
fn pack(tree: &Path, to: &Path, filter: &str) -> Result<()> {
    let script = format!("set -e; find . -print0 | cpio --null --quiet --create --format=newc {filter} > \"$0\"");
    run(Command::new("sh").args(["-c", &script]).arg(to).current_dir(tree))?;
    let file = fs::File::options().write(true).open(to)?;
    Ok(file.set_len(file.metadata()?.len().next_multiple_of(4))?)
}

fn put(path: &Path, mode: u32, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content).with_context(|| format!("write {}", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// The files that make a node of a root file system: `/init`, name, fixed address, host key and root's key.
pub(super) fn overlay(node: &Port, key: &KeyPair, to: &Path) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let tree = dir.path().join("tree");
    let host = KeyPair::generate(dir.path(), "host")?;
    put(&tree.join("etc/ssh/ssh_host_ed25519_key"), 0o600, fs::read(&host.private)?)?;
    put(&tree.join("etc/ssh/ssh_host_ed25519_key.pub"), 0o644, &host.public)?;
    put(&tree.join("root/.ssh/authorized_keys"), 0o600, &key.public)?;
    fs::set_permissions(tree.join("root"), fs::Permissions::from_mode(0o700))?;
    fs::set_permissions(tree.join("root/.ssh"), fs::Permissions::from_mode(0o700))?;
    put(&tree.join("etc/hostname"), 0o644, &node.name)?;
    let network = format!(
        "[Match]\nMACAddress={}\n[Network]\nAddress={}/{}\nLinkLocalAddressing=no\n",
        node.mac(),
        node.address(),
        node.prefix()
    );
    put(&tree.join("etc/systemd/network/10-node.network"), 0o644, network)?;
    symlink("/sbin/init", tree.join("init"))?;
    pack(&tree, to, "")
}
