//! A registry of ten thousand nodes: how long it takes to load, list and change, and how much memory a head takes that serves it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use wulfpack_head::registry::Registry as Loaded;
use wulfpack_tests::harness::head_binary;

/// Options of `bench registry`.
#[derive(clap::Args)]
pub(super) struct Registry {
    /// Nodes.
    #[arg(long, default_value_t = 10_000)]
    nodes: u32,
    /// Profiles, in three levels.
    #[arg(long, default_value_t = 20)]
    profiles: u32,
    /// Runs; the slowest is shown.
    #[arg(long, default_value_t = 3)]
    runs: u8,
    /// Writes the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// One figure.
#[derive(serde::Serialize)]
pub(super) struct Figure {
    what: &'static str,
    value: u128,
    unit: &'static str,
    at_most: u128,
}

/// Profiles of three levels: `base`, groups that name it, roles that name a group.
fn yaml(nodes: u32, profiles: u32) -> String {
    let mut text = String::from("nodeprofiles:\n");
    for n in 0..profiles.max(3) {
        let above = match n {
            0 => String::new(),
            n if n % 2 == 1 => "profiles: [p0], ".into(),
            n => format!("profiles: [p{}], ", n - 1),
        };
        // Writing to a String cannot fail.
        _ = writeln!(
            text,
            "  p{n}: {{{above}tags: {{t{n}: v}}, kernel: {{args: [a{n}=1]}}, system overlay: [hosts], network devices: {{default: {{netmask: 255.255.0.0}}}}}}"
        );
    }
    text.push_str("nodes:\n");
    for n in 0..nodes {
        _ = writeln!(
            text,
            "  n{n:05}:\n    profiles:\n    - p{}\n    rack: r{}\n    tags:\n      slot: '{}'\n    network devices:\n      default:\n        device: eth0\n        hwaddr: 52:54:00:{:02x}:{:02x}:{:02x}\n        ipaddr: 10.1.{}.{}",
            2 + n % (profiles.max(4) - 2),
            n / 40,
            n % 40,
            n >> 16,
            (n >> 8) & 255,
            n & 255,
            n / 250,
            n % 250 + 1
        );
    }
    text
}

fn timed(what: &'static str, target_ms: u128, runs: u8, mut work: impl FnMut() -> Result<()>) -> Result<Figure> {
    let mut slowest = Duration::ZERO;
    for _ in 0..runs {
        let begin = Instant::now();
        work()?;
        slowest = slowest.max(begin.elapsed());
    }
    Ok(Figure { what, value: slowest.as_millis(), unit: "ms", at_most: target_ms })
}

fn wulf(config: &Path, args: &[&str]) -> Result<()> {
    let mut command = Command::new(head_binary()?);
    let status = command.arg("--config").arg(config).args(args).args(["--yes"]).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { bail!("wulf {args:?}: {status}") }
}

/// A head that serves, ended when dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

/// Memory of a head that serves these nodes, on an address of this host that nobody else has, once it answers.
fn memory(config: &Path) -> Result<Figure> {
    let text = std::fs::read_to_string(config)?;
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("interfaces: {{lo: {{dhcp: false, addresses: [127.{}.{low}.77]}}}}\n", high | 1);
    std::fs::write(config, text.replace("interfaces: {}\n", &address))?;
    let mut command = Command::new(head_binary()?);
    command.arg("--config").arg(config).arg("serve").stdout(Stdio::null()).stderr(Stdio::null());
    let head = Serving(command.spawn()?);
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = wulf(config, &["node", "status", "n00000"]) {
        if Instant::now() > deadline {
            return Err(error.context("the head does not answer"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", head.0.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory is not known")?;
    let kib: u128 = line.split_whitespace().next().context("its memory is not known")?.parse()?;
    Ok(Figure { what: "memory of a head that serves them", value: kib / 1024, unit: "MiB", at_most: 300 })
}

/// Measures, and prints.
pub(super) fn registry(options: &Registry) -> Result<Vec<Figure>> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("wulfpack.yaml");
    wulf(&config, &["init", "--below", dir.path().to_str().context("the path is no text")?])?;
    let path = dir.path().join("etc/wulfpack/nodes.yaml");
    std::fs::write(&path, yaml(options.nodes, options.profiles))?;
    let half = format!("n[00000-{:05}]", options.nodes / 2 - 1);
    let load = || -> Result<()> {
        let loaded = Loaded::load(&path)?;
        if loaded.resolve().nodes().len() != options.nodes as usize {
            bail!("not all nodes were loaded: {}", loaded.errors());
        }
        Ok(())
    };
    let mut value = 0;
    let mut figures = vec![
        timed("load and resolve all", 1000, options.runs, load)?,
        timed("wulf node list", 300, options.runs, || wulf(&config, &["node", "list"]))?,
        timed("wulf node set, half of them", 1000, options.runs, || {
            value += 1;
            wulf(&config, &["node", "set", &half, "--tagadd", &format!("x={value}")])
        })?,
        timed("wulf undo", 1000, options.runs, || wulf(&config, &["undo"]))?,
    ];
    figures.push(memory(&config)?);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} nodes, {} profiles, slowest of {} runs", options.nodes, options.profiles, options.runs)?;
    for Figure { what, value, unit, at_most } in &figures {
        writeln!(out, "{what:<34} {value:6} {unit:<3}   (at most {at_most})")?;
    }
    Ok(figures)
}
