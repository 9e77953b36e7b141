//! Where the clone, its caches and the built binaries are.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

/// Target of the agent that goes into initramfs: linked static, whatever the host's default is.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The cache of a clone that only its owner can enter.
const SHARED_CACHE: &str = "/var/cache/wulfpack-lab";

/// The root of the clone.
pub fn repo_dir() -> &'static Path {
    const MEMBER: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(MEMBER).parent().unwrap_or(Path::new(MEMBER))
}

/// Where downloads and built images are kept between runs: `$WULFPACK_CACHE`, else `.cache` in the clone, else, where only
/// its owner can enter the clone, a directory of the system's: a head under test gives up root and has to reach its files.
pub fn cache_dir() -> Result<PathBuf> {
    let path = match std::env::var_os("WULFPACK_CACHE") {
        Some(path) => path.into(),
        None if everybody_enters(repo_dir())? || !geteuid().is_root() => repo_dir().join(".cache"),
        None => SHARED_CACHE.into(),
    };
    std::fs::create_dir_all(&path).with_context(|| format!("create the cache {}", path.display()))?;
    Ok(path)
}

/// Whether every user can come to `dir`.
fn everybody_enters(dir: &Path) -> Result<bool> {
    for above in dir.ancestors() {
        let data = std::fs::metadata(above).with_context(|| format!("look at {}", above.display()))?;
        if data.mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo_dir().join("target"), PathBuf::from)
}

fn built(path: PathBuf, how: &str) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is not built: run {how}", path.display());
    }
    Ok(path)
}

/// The `wulf` binary under test: `$WULF_BIN`, else the one built with this program, in the same profile.
pub fn head_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WULF_BIN") {
        return Ok(path.into());
    }
    let program = std::env::current_exe().context("find this program")?;
    let dir = program.parent().context("this program lies nowhere")?;
    // Tests lie one folder deeper than the binaries of their profile.
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    built(dir.join("wulf"), "scripts/build, or cargo build -p wulfpack-head for tests")
}

/// The static `wulf-agent`: `$WULF_AGENT_BIN`, else what `scripts/build-agent` built.
pub fn agent_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WULF_AGENT_BIN") {
        return Ok(path.into());
    }
    built(target_dir().join(AGENT_TARGET).join("agent/wulf-agent"), "scripts/build-agent")
}
