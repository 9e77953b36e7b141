//! How long it takes until a container image from a registry lies on disk as a root file system: `wulf image import` against
//! `skopeo copy` and `umoci unpack`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use serde::Serialize;

use crate::harness::{Flavour, OciRegistry, cache_dir, debian_tar, head_binary, make_image, noise, run};

const MIB: u64 = 1 << 20;
const PORT: u16 = 5000;

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OciRow {
    /// Bytes of the root file system.
    pub unpacked: u64,
    /// `wulf image import`, until all is written to disk. Seconds.
    pub ours: f64,
    /// `skopeo copy` into a layout. Seconds.
    pub skopeo: f64,
    /// `umoci unpack` of it. Seconds.
    pub umoci: f64,
    /// Writing to disk what they left in memory. Seconds; not counted in the ratio.
    pub sync: f64,
}

impl OciRow {
    /// Our time over theirs.
    pub fn ratio(&self) -> f64 {
        self.ours / (self.skopeo + self.umoci)
    }
}

/// Imports an image of so many MiB once by each way, both from the same registry on this host, one after the other.
pub fn compare(mib: u64) -> Result<OciRow> {
    let within = || -> Result<OciRow> {
        let layout = image(mib)?;
        unshare(CloneFlags::CLONE_NEWNET).context("the bench has to run as root")?;
        run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        let scratch = tempfile::tempdir_in(cache_dir()?)?;
        let registry = OciRegistry::start(scratch.path(), PORT, false)?;
        registry.push(&format!("oci:{}:bench", layout.display()), "bench:1", false)?;
        let reference = registry.reference("bench:1");

        let config = scratch.path().join("head/etc/wulfpack/wulfpack.yaml");
        let mut init = Command::new(head_binary()?);
        run(init.arg("--config").arg(&config).args(["init", "--below"]).arg(scratch.path().join("head")))?;
        let mut import = Command::new(head_binary()?);
        import.arg("--config").arg(&config).args(["image", "import", "--nohttps", &reference, "bench"]);
        let ours = timed(&mut import)?;

        let (copy, bundle) = (scratch.path().join("copy"), scratch.path().join("bundle"));
        let target = format!("oci:{}:bench", copy.display());
        let skopeo =
            timed(Command::new("skopeo").args(["copy", "--quiet", "--src-tls-verify=false", &reference, &target]))?;
        let image = format!("{}:bench", copy.display());
        let umoci = timed(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle))?;
        let sync = timed(&mut Command::new("sync"))?;
        let du = run(Command::new("du").args(["-sb"]).arg(bundle.join("rootfs")))?;
        let unpacked = du.split_whitespace().next().context("a size")?.parse()?;
        Ok(OciRow { unpacked, ours, skopeo, umoci, sync })
    };
    // The namespace ends with the thread.
    std::thread::scope(|scope| scope.spawn(within).join()).map_err(|_| anyhow!("the bench panicked"))?
}

fn timed(command: &mut Command) -> Result<f64> {
    // What others wrote before must not be paid for here.
    run(&mut Command::new("sync"))?;
    let begun = Instant::now();
    run(command)?;
    Ok(begun.elapsed().as_secs_f64())
}

/// A layout with the image, kept between runs: Debian, and above it a layer of many files up to the size.
fn image(mib: u64) -> Result<PathBuf> {
    let layout = cache_dir()?.join(format!("oci-{mib}"));
    if layout.join("done").exists() {
        return Ok(layout);
    }
    let archive = debian_tar(Flavour::Cloud)?;
    let debian = |root: &Path| {
        run(Command::new("tar").args(["--xattrs", "--xattrs-include=*", "-xpf"]).arg(&archive).arg("-C").arg(root))
            .map(drop)
    };
    let filler = |root: &Path| {
        let du = run(Command::new("du").args(["-sb"]).arg(root))?;
        let have: u64 = du.split_whitespace().next().context("a size")?.parse()?;
        fill(&root.join("opt/filler"), (mib * MIB).saturating_sub(have))
    };
    if layout.exists() {
        fs::remove_dir_all(&layout)?;
    }
    make_image(&layout, "bench", &[&debian, &filler])?;
    fs::write(layout.join("done"), "")?;
    Ok(layout)
}

/// Files of 4 KiB to 1 MiB, half of whose bytes get smaller.
fn fill(dir: &Path, len: u64) -> Result<()> {
    let (mut left, mut number) = (len, 0u64);
    while left > 0 {
        let size = left.min(4096 << (number * 7 % 9));
        let folder = dir.join((number / 100).to_string());
        fs::create_dir_all(&folder)?;
        let bytes = noise(usize::try_from(size / 2)?, u8::try_from(number % 251)?);
        let mut file = fs::File::create(folder.join(number.to_string()))?;
        file.write_all(&bytes)?;
        file.write_all(format!("{number} of many lines\n").repeat(usize::try_from(size / 2 / 16)?).as_bytes())?;
        left -= size;
        number += 1;
    }
    Ok(())
}
