//! What is distributed, and who does.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::row::{Row, median};
use super::{aria, ours, torrent, web};
use crate::cluster::Hosts;
use crate::harness::{Rate, cache_dir};

/// What distributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// `wulf serve`, and `wulf-agent fetch` on every host.
    Wulfpack,
    /// nginx, and curl on every host.
    Nginx,
    /// libtorrent, every peer known to every other.
    Libtorrent,
    /// aria2, every peer known to every other through a tracker.
    Aria2,
}

/// What is distributed, to how many, over what.
#[derive(Clone, Copy, Debug)]
pub struct Contest {
    /// Hosts that start at the same moment.
    pub nodes: usize,
    /// Rate of every link, the source's too.
    pub rate: Rate,
    /// Size of the image in MiB; None is a Debian system.
    pub mib: Option<usize>,
}

impl Contest {
    /// One system, so often; the row is the run with the median time.
    pub fn run(&self, system: System, runs: u8, mut each: impl FnMut(&Row)) -> Result<Row> {
        let mut rows = vec![];
        for _ in 0..runs.max(1) {
            let row = match system {
                System::Wulfpack => ours::run(self, self.hosts("swarm", self.nodes, Some(self.rate))?)?,
                System::Nginx => web::run(self, &self.file()?)?,
                System::Libtorrent => torrent::run(self, &self.file()?)?,
                System::Aria2 => aria::run(self, &self.file()?)?,
            };
            each(&row);
            rows.push(row);
        }
        median(rows).context("there was no run")
    }

    fn hosts(&self, name: &str, count: usize, rate: Option<Rate>) -> Result<Hosts> {
        match self.mib {
            Some(mib) => Hosts::prepare_sized(name, count, rate, mib),
            None => Hosts::prepare(name, count, rate),
        }
    }

    /// The same bytes as a file: what a head makes of the root file system.
    fn file(&self) -> Result<PathBuf> {
        let size = self.mib.map_or("debian".to_owned(), |mib| format!("{mib}-mib"));
        let file = cache_dir()?.join(format!("contest-{size}.image"));
        let hosts = self.hosts("file", 0, None)?;
        let blob = hosts.blob()?;
        fs::copy(&blob, &file).with_context(|| format!("copy {}", blob.display()))?;
        hosts.succeeded();
        Ok(file)
    }

    /// Ten times what one server would need.
    pub(super) fn patience(&self) -> Duration {
        let bytes = self.mib.map_or(4e8, |mib| 2.0 * mib as f64 * 1_048_576.0);
        Duration::from_secs_f64(120.0 + bytes * 10.0 / self.rate.bytes_per_second() * self.nodes as f64)
    }
}
