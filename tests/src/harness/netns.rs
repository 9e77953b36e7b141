//! Network namespaces with a name that says who made them.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::cleanup::{Guard, Undo};
use super::tool::{ip, run};

const PREFIX: &str = "wulf";

/// A network namespace; deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    _guard: Guard,
}

impl Namespace {
    /// Makes `wulf-PID-LAB-WHAT` with its loopback up.
    pub(super) fn new(lab: u64, what: &str) -> Result<Self> {
        let name = format!("{PREFIX}-{}-{lab}-{what}", std::process::id());
        let guard = Guard::new(Undo::DeleteNetns(name.clone()));
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name, _guard: guard };
        ip(&format!("-n {} link set lo up", namespace.name))?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs inside and dies with the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Runs a program inside to its end and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments))
    }

    /// Runs `work` on a thread of its own inside the namespace: sockets it opens belong there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let file = File::open(&path).with_context(|| format!("open {path}"))?;
                setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))?;
                Ok(work())
            });
            worker.join().map_err(|_| anyhow!("the thread in namespace {} panicked", self.name))?
        })
    }
}

/// Deletes namespaces whose maker is gone without having cleaned up.
pub(super) fn sweep() -> Result<()> {
    for line in run(Command::new("ip").args(["netns", "list"]))?.lines() {
        let Some(name) = line.split_ascii_whitespace().next() else { continue };
        let mut parts = name.splitn(4, '-');
        if parts.next() != Some(PREFIX) {
            continue;
        }
        let Some(maker) = parts.next().and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !std::path::Path::new(&format!("/proc/{maker}")).exists() {
            // Two labs may sweep at a time; the second finds nothing.
            drop(ip(&format!("netns del {name}")));
        }
    }
    Ok(())
}
