//! `wulf ssh`: a command on many nodes.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::nodes::{Guard, NODESETS, chosen_names, folded, no_such_nodes};
use super::{Context, OutputFormat, Table, note, print, write_out};
use crate::exit::{Ended, Exit};
use crate::registry::Registry;
use crate::remote::{Job, Outcome, Status, fan_out, gather};

/// Run a command on nodes by SSH, many at a time; nodes that say the same are shown together.
#[derive(Args, Debug)]
#[command(after_long_help = NODESETS)]
pub struct SshCommand {
    /// Nodes.
    #[arg(value_name = "NODESET")]
    nodes: String,
    /// Command, with its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Nodes at a time.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    fanout: u16,
    /// Seconds that each node may take; 0 for any time.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    timeout: u64,
    /// Program that is called instead of ssh, with options, node and command.
    #[arg(long, default_value = "ssh", value_name = "PROGRAM")]
    rsh: OsString,
    /// Show which commands would be run, and run none.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    guard: Guard,
}

/// One node, for programs.
#[derive(Serialize)]
pub(super) struct Row {
    node: String,
    exit: Option<i32>,
    ended: &'static str,
    output: String,
}

impl SshCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let jobs = self.jobs(context)?;
        if self.dry_run {
            let line = |job: &Job| job.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
            write_out(&jobs.iter().map(|job| line(job) + "\n").collect::<String>())?;
            return Ok(Exit::Ok.into());
        }
        let names: Vec<&str> = jobs.iter().map(|job| job.node.as_str()).collect();
        self.guard.check(context, &names)?;
        let limit = (self.timeout > 0).then(|| Duration::from_secs(self.timeout));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut outcomes = vec![];
        runtime.block_on(fan_out(jobs, self.fanout.into(), limit, |outcome| outcomes.push(outcome)));
        // What a command left behind may still hold a pipe: nobody waits for it.
        runtime.shutdown_background();
        outcomes.sort_by(|a, b| a.node.cmp(&b.node));
        match context.output {
            OutputFormat::Table | OutputFormat::Name => write_out(&gather(&outcomes))?,
            _ => print(context, &outcomes.iter().map(row).collect::<Vec<_>>(), Table::pairs)?,
        }
        end(&outcomes)
    }

    fn jobs(&self, context: &Context) -> anyhow::Result<Vec<Job>> {
        let names = chosen_names(context, std::slice::from_ref(&self.nodes))?;
        let registry = Registry::load(&context.load_config()?.paths.nodes_file())?;
        let snapshot = registry.resolve();
        let missing: Vec<&str> =
            names.iter().filter(|name| snapshot.node(name).is_none()).map(|name| name.as_str()).collect();
        if !missing.is_empty() {
            return Err(no_such_nodes("node", &missing));
        }
        let job = |name| {
            let address = snapshot.node(name).and_then(|node| node.primary()).and_then(|net| net.ip.or(net.ip6));
            let mut command = vec![self.rsh.clone()];
            // Nobody is there to type a password, and a node that is down must not take minutes.
            command.extend(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"].map(OsString::from));
            command.push("-o".into());
            command.push(format!("HostKeyAlias={name}").into());
            command.push(address.map_or_else(|| name.to_string(), |address| address.to_string()).into());
            command.push("--".into());
            command.extend(self.command.iter().map(OsString::from));
            Job { node: name.to_string(), command, secret: None }
        };
        Ok(names.iter().map(job).collect())
    }
}

pub(super) fn row(outcome: &Outcome) -> Row {
    let (exit, ended) = match outcome.status {
        Status::Exit(code) => (Some(code), "exit"),
        Status::Killed => (None, "killed"),
        Status::Timeout => (None, "timeout"),
        Status::NotStarted(_) => (None, "not-started"),
    };
    Row { node: outcome.node.clone(), exit, ended, output: String::from_utf8_lossy(&outcome.output).into_owned() }
}

/// 0 where all went well, 124 where all that did not ran out of time, else 1.
pub(super) fn end(outcomes: &[Outcome]) -> anyhow::Result<ExitCode> {
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.status != Status::Exit(0)).collect();
    if failed.is_empty() {
        return Ok(Exit::Ok.into());
    }
    note(&format!("{} of {} nodes failed", failed.len(), outcomes.len()));
    let exit =
        if failed.iter().all(|outcome| outcome.status == Status::Timeout) { Exit::Timeout } else { Exit::Failed };
    let names: Vec<&str> = failed.iter().map(|outcome| outcome.node.as_str()).collect();
    Err(Ended::new(exit, folded(&names)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::node::tests::{head, wulf};

    #[test]
    fn exit_codes_tell_failures_from_lost_time() {
        let (dir, _paths) = head();
        wulf(dir.path(), &["node", "add", "n[1-3]"]).unwrap();
        let script = dir.path().join("rsh");
        std::fs::write(
            &script,
            "#!/bin/sh\nwhile [ \"$1\" != -- ]; do host=$1; shift; done; shift\nhost=$host exec \"$@\"\n",
        )
        .unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let ssh = |args: &[&str]| {
            let all = [&["ssh", "--rsh", script.to_str().unwrap()], args].concat();
            let result = wulf_before(dir.path(), &all);
            result.map_or_else(|error| Ended::code_of(&error), |_| Exit::Ok)
        };
        assert_eq!(ssh(&["n[1-3]", "true"]), Exit::Ok);
        assert_eq!(ssh(&["n[1-3]", "sh", "-c", "[ $host != n2 ]"]), Exit::Failed);
        assert_eq!(ssh(&["--timeout", "1", "n1", "sh", "-c", "exec sleep 600"]), Exit::Timeout);
        assert_eq!(ssh(&["n9", "true"]), Exit::NothingMatched);
        assert_eq!(ssh(&["@nosuch", "true"]), Exit::NothingMatched);
        assert_eq!(ssh(&["--dry-run", "n[1-3]", "false"]), Exit::Ok);
    }

    /// With the options of every command in front: behind it they would be the remote command's.
    fn wulf_before(dir: &std::path::Path, args: &[&str]) -> anyhow::Result<ExitCode> {
        use clap::Parser as _;
        let config = dir.join("wulfpack.yaml");
        let line = ["wulf", "--yes", "--config", config.to_str().unwrap()];
        crate::cli::Wulf::try_parse_from(line.iter().chain(args))?.run()
    }
}
