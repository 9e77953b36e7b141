//! Where the clone, its caches and the built binaries are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Target of the agent that goes into initramfs: linked static, whatever the host's default is.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The root of the clone.
pub fn repo_dir() -> &'static Path {
    const MEMBER: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(MEMBER).parent().unwrap_or(Path::new(MEMBER))
}

/// Where downloads and built images are kept between runs: `$WULFPACK_CACHE`, or `.cache` in the clone.
pub fn cache_dir() -> Result<PathBuf> {
    let path = std::env::var_os("WULFPACK_CACHE").map_or_else(|| repo_dir().join(".cache"), PathBuf::from);
    std::fs::create_dir_all(&path).with_context(|| format!("create the cache {}", path.display()))?;
    Ok(path)
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
