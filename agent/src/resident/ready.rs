//! When the node is ready, by its own word: the default target is reached and no job waits (REAL-CLUSTERS rule 26). The head
//! adds its own look from outside.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::Command;

/// systemd's word on the system, once it has started all it was going to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemState {
    /// `running`, `degraded`, or what else `systemctl is-system-running` says.
    pub state: String,
    /// Failed units.
    pub failed: Vec<String>,
}

/// Whether systemd is this system's init (sd_booted(3)).
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Waits until systemd has finished starting and asks how it went.
pub async fn wait_for_systemd() -> Result<SystemState> {
    // `--wait` ends when the start-up ends; the exit status only repeats the word.
    let state = systemctl(&["is-system-running", "--wait"]).await?.trim().to_owned();
    let failed = if state == "running" {
        vec![]
    } else {
        parse_failed(&systemctl(&["--failed", "--no-legend", "--plain"]).await?)
    };
    Ok(SystemState { state, failed })
}

pub(super) async fn systemctl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("systemctl").args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("failed to run systemctl {}", arguments.join(" ")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first column of `systemctl --failed --no-legend --plain`.
fn parse_failed(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_units_are_named() {
        let text = "nfs.mount     loaded failed failed  /home\nfoo.service loaded failed failed Foo\n\n";
        assert_eq!(parse_failed(text), ["nfs.mount", "foo.service"]);
        assert!(parse_failed("").is_empty());
    }
}
