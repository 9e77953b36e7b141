//! `scripts/bench`: the figures of the README, each from one run on one host.

mod overlays;
mod pair;
mod registry;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use wulfpack_tests::baseline;
use wulfpack_tests::cluster::{Peers, measure, measure_root, root_table};
use wulfpack_tests::contest::{self, Contest, Row, System};
use wulfpack_tests::figures::{BootFigures, BootSetup, table};
use wulfpack_tests::harness::Rate;
use wulfpack_tests::joins::{join_table, joins, memory, memory_table, neighbour, neighbour_table};
use wulfpack_tests::oci::{self, OciRow};
use wulfpack_tests::pair::End;
use wulfpack_tests::rush;

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
    /// Start of processes from a node's root, cold and warm, in both root modes.
    Root(Root),
    /// One image to many hosts, against other ways to distribute a file on the same links.
    Swarm(Swarm),
    /// A container image from a registry to a root file system on disk, against skopeo and umoci.
    Oci(Oci),
    /// All overlays for all nodes of a large cluster.
    Overlays(overlays::Overlays),
    /// One sender and one receiver over loopback, against quinn alone and others.
    Pair(pair::Pair),
    /// One end of a pair.
    #[command(hide = true)]
    PairEnd(End),
    /// A registry of 10,000 nodes: load, list, change.
    Registry(registry::Registry),
    /// Whole DHCP exchanges per second on one core at 10,000 known nodes, against Kea and dnsmasq.
    Dhcp(Dhcp),
    /// Thousands of agents that join one head at once.
    Joins(Joins),
    /// Whether caps hold, and what a job loses beside a node that serves.
    Neighbour(Neighbour),
    /// What idle peers cost a node.
    Memory(Memory),
    /// Boot scripts for 10,000 nodes, kernels and archives, against nginx.
    Http(Http),
    /// The boot program for many machines at once, against dnsmasq.
    Tftp(Tftp),
}

#[derive(clap::Args)]
struct Oci {
    /// MiB of the image, unpacked.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Runs, one row each.
    #[arg(long, default_value_t = 3)]
    runs: u8,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Root {
    /// Processes that start at once; one row each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    processes: Vec<u32>,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Dhcp {
    /// Exchanges that are begun in a second, one row each.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 250, 500, 1000, 2000, 4000, 8000, 12_000, 16_000, 24_000])]
    rates: Vec<u32>,
    /// Seconds for each row.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Http {
    /// Seconds for each row.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Joins {
    /// Agents that join in the same moment.
    #[arg(long, default_value_t = 2000)]
    agents: u32,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Neighbour {
    /// The cap.
    #[arg(long, default_value = "200mbit")]
    cap: Rate,
    /// Size of the image in MiB.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Memory {
    /// Peers that connect and want nothing.
    #[arg(long, default_value_t = 24)]
    peers: u32,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Tftp {
    /// Machines that begin in the same moment.
    #[arg(long, default_value_t = 500)]
    clients: u32,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Swarm {
    /// Hosts that start together; rows for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 16])]
    nodes: Vec<usize>,
    /// Rate of every link, the source's too, such as 200mbit.
    #[arg(long, default_value = "100mbit")]
    rate: Rate,
    /// Size of the image in MiB; without it, a Debian system.
    #[arg(long, value_name = "MIB")]
    size: Option<usize>,
    /// What to run.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [System::Wulfpack, System::Nginx, System::Libtorrent, System::Aria2])]
    against: Vec<System>,
    /// Runs of each; the row is the one with the median time.
    #[arg(long, default_value_t = 3)]
    runs: u8,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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

fn swarm(options: &Swarm) -> Result<()> {
    let mut rows: Vec<Row> = vec![];
    let mut add = |row: Row| -> Result<()> {
        rows.push(row);
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", contest::table(&rows))?;
        match &options.json {
            Some(path) => write_json(path, &Rows { rows: &rows }),
            None => Ok(()),
        }
    };
    for nodes in options.nodes.iter().copied() {
        let contest = Contest { nodes, rate: options.rate, mib: options.size };
        for system in &options.against {
            let each = |row: &Row| {
                // Whoever closed the pipe does not want to know.
                let _closed = writeln!(
                    std::io::stderr(),
                    "{} to {nodes}: {:.2} s, {:.3} T*, {:.0} % CPU",
                    row.system,
                    row.t_last_s,
                    row.ratio,
                    row.busy * 100.0
                );
            };
            add(contest.run(*system, options.runs, each)?)?;
        }
    }
    Ok(())
}

#[derive(serde::Serialize)]
struct Rows<'a> {
    rows: &'a [Row],
}

/// Prints the rows, and writes them where that is wanted.
fn services<R: serde::Serialize>(rows: Result<Vec<R>>, table: fn(&[R]) -> String, json: Option<PathBuf>) -> Result<()> {
    let rows = rows?;
    writeln!(std::io::stdout().lock(), "{}", table(&rows))?;
    json.map_or(Ok(()), |path| write_json(&path, &rows))
}

fn oci(options: &Oci) -> Result<()> {
    let mut rows: Vec<OciRow> = vec![];
    let mut out = std::io::stdout().lock();
    writeln!(out, "unpacked MiB  wulf s  skopeo s  umoci s  ratio  (their sync s)")?;
    for _ in 0..options.runs {
        let row = oci::compare(options.mib)?;
        let OciRow { unpacked, ours, skopeo, umoci, sync } = row;
        let (mib, ratio) = (unpacked >> 20, row.ratio());
        writeln!(out, "{mib:12}  {ours:6.1}  {skopeo:8.1}  {umoci:7.1}  {ratio:5.2}  {sync:.1}")?;
        rows.push(row);
    }
    options.json.as_ref().map_or(Ok(()), |path| write_json(path, &rows))
}

fn write_json(path: &Path, rows: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(rows)?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
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
    options.json.as_ref().map_or(Ok(()), |path| write_json(path, &rows))
}

fn root(options: &Root) -> Result<()> {
    let mut rows = vec![];
    for root in ["overlay", "tmpfs"] {
        rows.extend(measure_root(root, &options.processes, options.runs)?);
    }
    say(&root_table(&rows))?;
    options.json.as_ref().map_or(Ok(()), |path| write_json(path, &rows))
}

fn say(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn main() -> ExitCode {
    let done = match Bench::parse().what {
        What::Boot(options) => boot(&options),
        What::Root(options) => root(&options),
        What::Swarm(options) => swarm(&options),
        What::Oci(options) => oci(&options),
        What::Overlays(options) => options.run().and_then(|text| say(&text)),
        What::Pair(options) => pair::pair(&options),
        What::PairEnd(end) => end.run(),
        What::Registry(options) => registry::registry(&options)
            .and_then(|rows| options.json.as_ref().map_or(Ok(()), |path| write_json(path, &rows))),
        What::Dhcp(options) => {
            let rows = rush::dhcp(&options.rates, Duration::from_secs(options.seconds));
            services(rows, rush::dhcp_table, options.json)
        }
        What::Joins(options) => services(joins(options.agents).map(|row| vec![row]), join_table, options.json),
        What::Neighbour(options) => services(neighbour(options.cap, options.size), neighbour_table, options.json),
        What::Memory(options) => services(memory(options.peers).map(|row| vec![row]), memory_table, options.json),
        What::Http(options) => {
            services(rush::http(Duration::from_secs(options.seconds)), rush::http_table, options.json)
        }
        What::Tftp(options) => services(rush::tftp(options.clients), rush::tftp_table, options.json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere else to say it.
            drop(writeln!(std::io::stderr(), "bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
