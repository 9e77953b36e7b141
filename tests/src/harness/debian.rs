//! Debian root file systems, made by mmdebstrap and kept until their recipe changes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::cleanup::{Guard, Undo};
use super::paths::cache_dir;
use super::tool::{require, run};

const SUITE: &str = "bookworm";
/// A small system that a person can log in to.
const PACKAGES: [&str; 12] = [
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "kmod",
    "openssh-server",
    "iproute2",
    "iputils-ping",
    "procps",
    "ca-certificates",
    "less",
];
/// Run in the finished tree, `$1`. Host keys belong to a node, not to an image; the initramfs of the distribution is of no
/// use to a node that boots from the network.
const HOOKS: [&str; 3] = [
    r#"rm -f "$1"/etc/ssh/ssh_host_*"#,
    r#"rm -f "$1"/boot/initrd.img-*"#,
    r#"chroot "$1" systemctl enable systemd-networkd systemd-resolved ssh"#,
];

/// Which kernel a Debian image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flavour {
    /// For virtual machines: few drivers.
    Cloud,
    /// For hardware: all drivers.
    Generic,
}

impl Flavour {
    fn kernel(self) -> &'static str {
        match self {
            Self::Cloud => "linux-image-cloud-amd64",
            Self::Generic => "linux-image-amd64",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Generic => "generic",
        }
    }
}

/// The image's root file system as a tar archive; made on first use, which takes a minute or two.
pub fn debian_tar(flavour: Flavour) -> Result<PathBuf> {
    let packages = [&PACKAGES[..], &[flavour.kernel()]].concat();
    let recipe = format!("{SUITE}\n{}\n{}", packages.join(","), HOOKS.join("\n"));
    let digest = blake3::hash(recipe.as_bytes()).to_hex();
    let dir = cache_dir()?.join("images");
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join(format!("debian-{}-{}.tar", flavour.name(), &digest[..12]));
    let lock = std::fs::File::create(path.with_extension("lock"))?;
    lock.lock().with_context(|| format!("wait for {}", path.display()))?;
    if path.exists() {
        return Ok(path);
    }
    require(&["mmdebstrap"])?;
    let partial = path.with_extension("partial");
    let guard = Guard::new(Undo::Remove(partial.clone()));
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--format=tar", "--include", &packages.join(",")]);
    command.args(HOOKS.map(|hook| format!("--customize-hook={hook}")));
    run(command.arg(SUITE).arg(&partial)).context("build a Debian root file system")?;
    std::fs::rename(&partial, &path).with_context(|| format!("keep {}", path.display()))?;
    drop(guard);
    Ok(path)
}
