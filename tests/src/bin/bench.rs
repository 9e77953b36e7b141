//! `scripts/bench`: the figures of the README, each from one run on one host.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use wulfpack_tests::baseline;
use wulfpack_tests::cluster::{Peers, measure};
use wulfpack_tests::figures::{BootFigures, BootSetup, table};
use wulfpack_tests::harness::Rate;

/// Measures Wulfpack on machines and networks that it makes for itself.
#[derive(Parser)]
struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Power-on to the SSH banner of the last machine, against one cpio.gz from one web server.
    Boot(Boot),
}

#[derive(clap::Args)]
struct Boot {
    /// Machines to switch on together; one row for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 8])]
    nodes: Vec<usize>,
    /// Rate of every link, the head's too, such as 100mbit; one machine alone has no limit.
    #[arg(long, default_value = "100mbit")]
    rate: Rate,
    /// Memory of each machine in MiB; default: 1536 for 8 machines and more, else 2048.
    #[arg(long)]
    memory: Option<u32>,
    /// What to boot; default: everything.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [How::Cpio, How::Wulfpack, How::Alone])]
    how: Vec<How>,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum How {
    /// The whole system as one cpio.gz, loaded by iPXE from nginx.
    Cpio,
    /// Wulfpack.
    Wulfpack,
    /// Wulfpack with the image from the head alone.
    Alone,
}

fn boot(options: &Boot) -> Result<()> {
    let mut rows: Vec<BootFigures> = vec![];
    for nodes in options.nodes.iter().copied() {
        let setup = BootSetup {
            nodes,
            rate: (nodes > 1).then_some(options.rate),
            memory_mib: options.memory.unwrap_or(if nodes >= 8 { 1536 } else { 2048 }),
            patience: baseline::patience(nodes),
        };
        for how in &options.how {
            rows.push(match how {
                How::Cpio => baseline::measure(&setup)?,
                How::Wulfpack => measure(&setup, Peers::On)?,
                How::Alone if nodes == 1 => continue,
                How::Alone => measure(&setup, Peers::Off)?,
            });
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", table(&rows))?;
        }
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let What::Boot(options) = Bench::parse().what;
    match boot(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere else to say it.
            drop(writeln!(std::io::stderr(), "bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
