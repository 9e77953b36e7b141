//! libtorrent, tuned for a lab: all peers know each other.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Contest;
use super::row::{Measured, Row};
use crate::harness::{CpuMeter, Lab, Port, Process, bytes_sent, run as run_tool};

/// The interpreter for which Debian packages libtorrent, whatever else is called python3 here.
pub(super) const PYTHON: &str = "/usr/bin/python3";
const PEER: &str = include_str!("torrent.py");
/// Pieces of 256 KiB, as our chunks.
const MAKE: &str = "import libtorrent as lt, os, sys\n\
    files = lt.file_storage()\nfiles.add_file('image', os.path.getsize(sys.argv[1] + '/image'))\n\
    made = lt.create_torrent(files, 256 * 1024)\nlt.set_piece_hashes(made, sys.argv[1])\n\
    for tracker in sys.argv[3:]: made.add_tracker(tracker)\n\
    open(sys.argv[2], 'wb').write(lt.bencode(made.generate()))\n";
const START: Duration = Duration::from_secs(60);

/// Writes the torrent of the image in this directory.
pub(super) fn make(source: &Path, torrent: &Path, tracker: Option<&str>) -> Result<()> {
    run_tool(Command::new(PYTHON).args(["-c", MAKE]).arg(source).arg(torrent).args(tracker))
        .context("libtorrent; Debian's package python3-libtorrent has it")
        .map(drop)
}

pub(super) fn run(contest: &Contest, file: &Path) -> Result<Row> {
    let mut lab = Lab::new("torrent")?;
    let head = lab.head_port(Some(contest.rate))?;
    let ports = (1..=contest.nodes)
        .map(|number| lab.process_port(&format!("n{number}"), Some(contest.rate)))
        .collect::<Result<Vec<_>>>()?;
    let work = lab.work().to_owned();
    let (source, torrent, script) = (work.join("seed"), work.join("torrent"), work.join("torrent.py"));
    fs::create_dir_all(&source)?;
    fs::copy(file, source.join("image"))?;
    fs::write(&script, PEER)?;
    make(&source, &torrent, None)?;
    let peer = |port: &Port, dir: &Path, role: &str| -> Result<Process> {
        fs::create_dir_all(dir)?;
        let mut command = port.namespace.command(PYTHON);
        command.arg(&script).arg(&torrent).arg(dir).arg(port.address().to_string()).arg(role);
        let others = ports.iter().chain([&head]).filter(|other| other.name != port.name);
        command.args(others.map(|other| other.address().to_string()));
        Process::start(&port.name, command, &lab.logs().join(format!("{}.log", port.name)))
    };
    let seed = peer(&head, &source, "seed")?;
    seed.console().wait_for("complete", START)?;
    let (cpu, sent) = (CpuMeter::start()?, bytes_sent(&head)?);
    let first = Instant::now();
    let mut running = vec![];
    for port in &ports {
        let begun = first.elapsed().as_secs_f64();
        running.push((begun, peer(port, &work.join(&port.name), "leech")?));
    }
    let mut complete_s = vec![];
    for (begun, process) in &running {
        process.console().wait_for("complete ", contest.patience())?;
        let text = process.console().text();
        let took = text.lines().find_map(|line| line.strip_prefix("complete ")).context("no time was printed")?;
        complete_s.push(begun + took.trim().parse::<f64>()?);
    }
    let (cpu, sent) = (cpu.read()?, bytes_sent(&head)? - sent);
    let peak_rss = running.iter().filter_map(|(_, process)| process.peak_rss().ok()).max().unwrap_or_default();
    drop((running, seed));
    lab.succeeded();
    let size = fs::metadata(file)?.len();
    Ok(Row::new("libtorrent", contest.rate, size, Measured { complete_s, sent, cpu, peak_rss }))
}
