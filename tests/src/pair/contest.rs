//! Runs, and the rows that they give.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::end::Way;
use super::knobs::Setting;
use super::{Site, others};
use crate::harness::Process;

const PATIENCE: Duration = Duration::from_secs(600);

/// What is moved, and how often.
#[derive(Debug)]
pub struct PairContest {
    dir: tempfile::TempDir,
    len: u64,
    /// What the program of the ends is started by, such as an emulator; usually nothing.
    pub wrapper: Vec<String>,
    /// Parameters that are not the swarm's own.
    pub settings: Vec<Setting>,
}

/// One system.
#[derive(Clone, Debug, Serialize)]
pub struct PairRow {
    /// What moved the bytes.
    pub system: String,
    /// Bytes of the image.
    pub size: u64,
    /// Seconds from the receiver's first step until it had all; the median of all runs.
    pub seconds: f64,
    /// The longest.
    pub worst_s: f64,
    /// MiB per second, of the median.
    pub mib_s: f64,
    /// CPU seconds of the sender for each GiB.
    pub send_cpu_s_per_gib: f64,
    /// The same of the receiver.
    pub receive_cpu_s_per_gib: f64,
    /// Largest resident set of either, MiB.
    pub peak_rss_mib: f64,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) send_cpu: f64,
    pub(super) receive_cpu: f64,
    pub(super) peak_rss: u64,
}

impl PairContest {
    /// Makes the image, in memory.
    pub fn new(len: u64) -> Result<Self> {
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }?;
        Site::make(dir.path(), usize::try_from(len)?)?;
        Ok(Self { dir, len, wrapper: vec![], settings: vec![] })
    }

    /// Where the image and all that is received lies.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// One of the ways of [`Way`].
    pub fn way(&self, way: Way, runs: usize) -> Result<PairRow> {
        let name = match way {
            Way::Wulfpack => "wulfpack",
            Way::Quinn => "quinn, read+hash+write",
            Way::Bare => "quinn, bare",
        };
        self.row(name, runs, || self.run(way))
    }

    /// nginx and curl, plain TCP; curl writes the file and hashes nothing.
    pub fn web(&self, runs: usize) -> Result<PairRow> {
        self.row("nginx + curl, plain TCP", runs, || others::web(self))
    }

    /// iroh-blobs, with its store on files.
    pub fn iroh(&self, runs: usize) -> Result<PairRow> {
        self.row("iroh-blobs", runs, || others::iroh(self))
    }

    fn row(&self, system: &str, runs: usize, mut run: impl FnMut() -> Result<Measured>) -> Result<PairRow> {
        let mut all = (0..runs.max(1)).map(|_| run()).collect::<Result<Vec<_>>>()?;
        all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let median = *all.get(all.len() / 2).context("no run")?;
        let gib = self.len as f64 / f64::from(1 << 30);
        Ok(PairRow {
            system: system.to_owned(),
            size: self.len,
            seconds: median.seconds,
            worst_s: all.last().map_or(f64::NAN, |run| run.seconds),
            mib_s: gib * 1024.0 / median.seconds,
            send_cpu_s_per_gib: median.send_cpu / gib,
            receive_cpu_s_per_gib: median.receive_cpu / gib,
            peak_rss_mib: all.iter().map(|run| run.peak_rss).max().unwrap_or_default() as f64 / f64::from(1 << 20),
        })
    }

    fn run(&self, way: Way) -> Result<Measured> {
        let name = clap::ValueEnum::to_possible_value(&way).context("a way has a name")?;
        let end = |from: Option<&str>| {
            let mut command = self.program()?;
            command.args(["pair-end", "--way", name.get_name(), "--dir"]).arg(self.dir());
            if let Some(from) = from {
                command.args(["--from", from]);
            }
            for setting in &self.settings {
                command.args(["--set", &setting.to_string()]);
            }
            let role = if from.is_some() { "receiver" } else { "sender" };
            Process::start(role, command, &self.dir().join(format!("{role}.log")))
        };
        let sender = end(None)?;
        let addr = word_after(&sender, "ready ")?;
        let receiver = end(Some(&addr))?;
        receiver.console().wait_for("begun", PATIENCE)?;
        let before = (sender.cpu_seconds()?, receiver.cpu_seconds()?);
        let done = word_after(&receiver, &format!("done {} ", self.len))?;
        let measured = Measured {
            seconds: done.parse().with_context(|| format!("read {done:?}"))?,
            send_cpu: sender.cpu_seconds()? - before.0,
            receive_cpu: receiver.cpu_seconds()? - before.1,
            peak_rss: sender.peak_rss()?.max(receiver.peak_rss()?),
        };
        drop((receiver, sender));
        self.tidy_up()?;
        Ok(measured)
    }

    /// This program, for one end.
    fn program(&self) -> Result<Command> {
        let own = std::env::current_exe()?;
        Ok(match self.wrapper.split_first() {
            None => Command::new(own),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(own);
                command
            }
        })
    }

    /// Removes what was received.
    pub(super) fn tidy_up(&self) -> Result<()> {
        let path = self.dir().join("received");
        let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone.with_context(|| format!("remove {}", path.display()))
    }
}

/// The word that a process printed behind `text`.
pub(super) fn word_after(process: &Process, text: &str) -> Result<String> {
    let at = process.console().wait_for_after(0, text, PATIENCE)?;
    process.console().wait_for_after(at, "\n", PATIENCE)?;
    let all = process.console().text();
    Ok(all.get(at..).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned())
}

/// The table of all rows; ratios are to the row of quinn that also reads, hashes and writes.
pub fn pair_table(rows: &[PairRow]) -> String {
    let cpu = |row: &PairRow| row.send_cpu_s_per_gib + row.receive_cpu_s_per_gib;
    let base = rows.iter().find(|row| row.system.starts_with("quinn, read"));
    let mut text = format!(
        "{:<24} {:>8} {:>8} {:>8} {:>8} {:>10} {:>10} {:>6} {:>8}\n",
        "system", "size MiB", "MiB/s", "worst s", "of quinn", "send s/GiB", "recv s/GiB", "CPU", "peak MiB"
    );
    for row in rows {
        let (speed, used) = base.map_or((f64::NAN, f64::NAN), |base| (row.mib_s / base.mib_s, cpu(row) / cpu(base)));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<24} {:>8.0} {:>8.0} {:>8.2} {:>8.2} {:>10.2} {:>10.2} {:>6.2} {:>8.1}",
            row.system,
            row.size as f64 / f64::from(1 << 20),
            row.mib_s,
            row.worst_s,
            speed,
            row.send_cpu_s_per_gib,
            row.receive_cpu_s_per_gib,
            used,
            row.peak_rss_mib,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_and_the_worst_and_the_table_compares_with_quinn() {
        let contest = PairContest::new(1 << 20).unwrap();
        let mut seconds = [3.0, 1.0, 2.0].into_iter();
        let run =
            || Ok(Measured { seconds: seconds.next().unwrap(), send_cpu: 1.0, receive_cpu: 2.0, peak_rss: 1 << 20 });
        let row = contest.row("quinn, read+hash+write", 3, run).unwrap();
        assert_eq!((row.seconds, row.worst_s, row.mib_s, row.peak_rss_mib), (2.0, 3.0, 0.5, 1.0));
        assert_eq!(row.send_cpu_s_per_gib, 1024.0);
        let table = pair_table(&[row.clone(), PairRow { system: "other".into(), mib_s: 1.0, ..row }]);
        let last: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
        assert_eq!((last[4], last[7]), ("2.00", "1.00"), "{table}");
    }
}
