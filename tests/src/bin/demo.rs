//! `scripts/demo`: machines that know nothing are switched on, and end at a login prompt.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use wulfpack_tests::demo::{Firmwares, Options, run};
use wulfpack_tests::harness::Rate;

/// Switches machines on and shows how they get a Debian from each other.
#[derive(Parser)]
#[command(name = "scripts/demo")]
struct Demo {
    /// Machines.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    nodes: u8,
    /// Their firmware.
    #[arg(long, value_enum, default_value = "bios")]
    firmware: Firmwares,
    /// Rate of every link, the head's too.
    #[arg(long, default_value = "200mbit")]
    rate: Rate,
    /// Memory of each machine in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(512..))]
    memory: u32,
    /// Leaves the machines on, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Writes the report to this file as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn show(demo: &Demo) -> Result<bool> {
    let options =
        Options { nodes: demo.nodes.into(), firmware: demo.firmware, rate: Some(demo.rate), memory_mib: demo.memory };
    let (report, cluster, machines) = run(&options)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", report.text())?;
    if let Some(path) = &demo.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let login = cluster.login_command(0)?;
    if demo.keep {
        writeln!(out, "the machines stay on until Ctrl-C. Log in to one from another terminal, as root:\n  {login}")?;
        out.flush()?;
        loop {
            std::thread::park();
        }
    }
    writeln!(out, "with --keep the machines stay on, and you can log in:\n  {login}")?;
    let succeeded = report.succeeded();
    drop(machines);
    if succeeded {
        cluster.succeeded();
    }
    Ok(succeeded)
}

fn main() -> ExitCode {
    match show(&Demo::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // There is nowhere else to say it.
            drop(writeln!(std::io::stderr(), "demo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
