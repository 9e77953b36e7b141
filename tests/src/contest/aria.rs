//! aria2 as a BitTorrent peer. It takes peers from nobody but a tracker (or from multicast, which a machine room has not): a small
//! one beside the source names every peer to every other at once.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};

use super::Contest;
use super::row::{Measured, Row};
use super::torrent::{PYTHON, make};
use crate::harness::{CpuMeter, Lab, Port, Process, bytes_sent, require, run as run_tool};

const TRACKER: &str = include_str!("tracker.py");
const START: Duration = Duration::from_secs(60);
/// Nothing is left of limits that were made for home links; the file is not reserved, since it lies where the others' does.
const OPTIONS: [&str; 16] = [
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--enable-peer-exchange=true",
    "--bt-max-peers=0",
    "--bt-request-peer-speed-limit=1G",
    "--bt-tracker-interval=1",
    "--max-upload-limit=0",
    "--max-overall-upload-limit=0",
    "--seed-ratio=0.0",
    "--file-allocation=none",
    "--bt-hash-check-seed=false",
    "--listen-port=6881",
    "--summary-interval=0",
    "--disk-cache=64M",
    "--no-conf=true",
];

pub(super) fn run(contest: &Contest, file: &Path) -> Result<Row> {
    require(&["aria2c"]).context("Debian's package aria2 has it")?;
    let mut lab = Lab::new("aria2")?;
    let head = lab.head_port(Some(contest.rate))?;
    let ports = (1..=contest.nodes)
        .map(|number| lab.process_port(&format!("n{number}"), Some(contest.rate)))
        .collect::<Result<Vec<_>>>()?;
    let work = lab.work().to_owned();
    let (source, torrent, script) = (work.join("seed"), work.join("torrent"), work.join("tracker.py"));
    fs::create_dir_all(&source)?;
    fs::copy(file, source.join("image"))?;
    fs::write(&script, TRACKER)?;
    make(&source, &torrent, Some(&format!("http://{}:6969/announce", head.address())))?;
    let mut command = head.namespace.command(PYTHON);
    command.arg(&script).arg(head.address().to_string());
    command.args(ports.iter().chain([&head]).map(|port| port.address().to_string()));
    let tracker = Process::start("tracker", command, &lab.logs().join("tracker.log"))?;
    tracker.console().wait_for("listening", START)?;
    // It runs when all pieces are there, before seeding goes on: date(1) says when.
    let hook = work.join("complete");
    fs::write(&hook, "#!/bin/sh\ndate +%s.%N > \"${3%/*}.complete\"\n")?;
    run_tool(Command::new("chmod").arg("755").arg(&hook))?;
    let peer = |port: &Port, dir: &Path, role: &str| -> Result<Process> {
        fs::create_dir_all(dir)?;
        let mut command = port.namespace.command("aria2c");
        command.args(OPTIONS).arg("--dir").arg(dir).arg(format!("--on-bt-download-complete={}", hook.display()));
        command.arg(format!("--check-integrity={}", role == "seed")).arg(&torrent);
        Process::start(&port.name, command, &lab.logs().join(format!("{}.log", port.name)))
    };
    let seed = peer(&head, &source, "seed")?;
    wait_for(&source.with_extension("complete"), START)?;
    let (cpu, sent) = (CpuMeter::start()?, bytes_sent(&head)?);
    let began = SystemTime::now();
    let mut running = vec![];
    for port in &ports {
        running.push((work.join(&port.name), peer(port, &work.join(&port.name), "leech")?));
    }
    let mut complete_s = vec![];
    for (dir, _) in &running {
        let at = wait_for(&dir.with_extension("complete"), contest.patience())?;
        complete_s.push(at - began.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64());
    }
    let (cpu, sent) = (cpu.read()?, bytes_sent(&head)? - sent);
    let peak_rss = running.iter().filter_map(|(_, process)| process.peak_rss().ok()).max().unwrap_or_default();
    drop((running, seed, tracker));
    lab.succeeded();
    let size = fs::metadata(file)?.len();
    Ok(Row::new("aria2", contest.rate, size, Measured { complete_s, sent, cpu, peak_rss }))
}

/// What the hook wrote: seconds since 1970.
fn wait_for(file: &Path, timeout: Duration) -> Result<f64> {
    let end = Instant::now() + timeout;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.ends_with('\n') {
            return text.trim().parse().with_context(|| format!("{} says {text:?}", file.display()));
        }
        anyhow::ensure!(Instant::now() < end, "aria2 was not complete within {} s", timeout.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}
