//! `wulf-agent fetch`: members of the swarm as plain processes, each in a namespace of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::lab::{Lab, Port};
use super::paths::agent_binary;
use super::process::Process;

/// One running `wulf-agent fetch`.
#[derive(Debug)]
pub struct Fetch {
    /// The process.
    pub process: Process,
    /// The file that it fetches into.
    pub file: PathBuf,
    /// When it was started.
    pub started: Instant,
}

/// What it prints once the image is complete.
#[derive(Clone, Debug, Deserialize)]
pub struct FetchReport {
    /// Version of the image, hexadecimal.
    pub version: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// Verified bytes that came from heads.
    pub from_heads: u64,
    /// Verified bytes that came from peers.
    pub from_peers: u64,
    /// Bytes that an interrupted fetch had left.
    pub resumed: u64,
    /// Bytes that were taken over from other files.
    pub reused: u64,
    /// Bytes that arrived in vain.
    pub wasted: u64,
    /// Processor time in seconds until the image was complete.
    pub cpu_s: f64,
    /// The most memory that was resident at a time until then, in bytes.
    pub memory_peak: u64,
    /// Seconds from its start until the head had admitted it.
    pub join_s: f64,
    /// Seconds from its start until the last unit was verified.
    pub complete_s: f64,
}

impl Fetch {
    /// Starts one with this ticket; once it is complete it goes on serving for `seed`.
    pub fn start(lab: &Lab, port: &Port, ticket: &str, seed: Duration) -> Result<Self> {
        Self::start_with(lab, port, ticket, seed, &[])
    }

    /// The same with further arguments.
    pub fn start_with(lab: &Lab, port: &Port, ticket: &str, seed: Duration, more: &[&OsStr]) -> Result<Self> {
        Self::start_under(lab, port, &[], ticket, seed, more)
    }

    /// The same, started by another program, such as nice(1).
    pub fn start_under(
        lab: &Lab,
        port: &Port,
        under: &[&str],
        ticket: &str,
        seed: Duration,
        more: &[&OsStr],
    ) -> Result<Self> {
        let file = lab.work().join(format!("{}.image", port.name));
        let path = secret(lab.work(), &port.name, ticket)?;
        let agent = agent_binary()?;
        let mut command = match under.split_first() {
            None => port.namespace.command(agent),
            Some((first, rest)) => {
                let mut command = port.namespace.command(first);
                command.args(rest).arg(agent);
                command
            }
        };
        command.args(["fetch", "--json", "--seed", &seed.as_secs().to_string()]);
        command.arg("--ticket").arg(path).arg("--out").arg(&file).args(more).env("WULF_LOG", "info");
        let started = Instant::now();
        let process = Process::start(&port.name, command, &lab.logs().join(format!("{}.log", port.name)))?;
        Ok(Self { process, file, started })
    }

    /// Waits until the image is complete.
    pub fn report(&self, timeout: Duration) -> Result<FetchReport> {
        let console = self.process.console();
        console.wait_for("\"complete_s\":", timeout)?;
        console.wait_for("}\n", timeout)?;
        let text = console.text();
        let line = text.lines().find(|line| line.starts_with('{')).context("no report was printed")?;
        serde_json::from_str(line).with_context(|| format!("read {line}"))
    }
}

/// A file that only root can read: a ticket is as good as membership.
fn secret(dir: &Path, name: &str, ticket: &str) -> Result<PathBuf> {
    let path = dir.join(format!("{name}.ticket"));
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(ticket.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
