//! `wulf-agent fetch`: members of the swarm as plain processes, each in a namespace of its own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use wulfpack_head::admin::TicketFor;

use super::head::Head;
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
    report: PathBuf,
}

/// What it says at its end.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct FetchReport {
    /// Verified bytes that came from heads.
    pub bytes_from_heads: u64,
    /// Verified bytes that came from peers.
    pub bytes_from_peers: u64,
    /// Seconds from its start to the last verified chunk.
    pub seconds: f64,
}

impl Fetch {
    /// A ticket from the head, in a file only root can read.
    pub fn ticket(lab: &Lab, head: &Head, image: &str, name: &str) -> Result<PathBuf> {
        let ticket = head.ticket(TicketFor::Anonymous { image: image.parse()?, count: 1 })?;
        let path = lab.work().join(format!("{name}.ticket"));
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(ticket.as_bytes())?;
        Ok(path)
    }

    /// Starts one; afterwards it goes on serving for `seed`.
    pub fn start(lab: &Lab, port: &Port, ticket: &Path, seed: Duration) -> Result<Self> {
        let file = lab.work().join(format!("{}.image", port.name));
        let report = lab.work().join(format!("{}.json", port.name));
        let mut command = port.namespace.command(agent_binary()?);
        command.arg("fetch").arg("--ticket-file").arg(ticket).arg("--json").arg(&report);
        command.args(["--seed", &seed.as_secs().to_string()]).arg(&file);
        let process = Process::start(&port.name, command, &lab.logs().join(format!("{}.log", port.name)))?;
        Ok(Self { process, file, report })
    }

    /// Its report, once the image is complete.
    pub fn report(&self) -> Result<FetchReport> {
        let text = fs::read_to_string(&self.report).with_context(|| format!("read {}", self.report.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {text}"))
    }
}
