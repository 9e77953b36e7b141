//! What is distributed, and who does.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::row::Row;
use super::{ours, torrent, web};
use crate::cluster::{Hosts, IMAGE};
use crate::harness::{Flavour, Head, KeyPair, Lab, Rate, cache_dir, debian_tar};

/// What is distributed, to how many, over what.
#[derive(Clone, Copy, Debug)]
pub struct Contest {
    /// Hosts that start at the same moment.
    pub nodes: usize,
    /// Rate of every link, the source's too.
    pub rate: Rate,
}

impl Contest {
    /// Wulfpack.
    pub fn ours(&self) -> Result<Row> {
        let hosts = Hosts::prepare("swarm", self.nodes, Some(self.rate))?;
        ours::run(self, hosts)
    }

    /// One web server.
    pub fn web(&self) -> Result<Row> {
        web::run(self, &self.file()?)
    }

    /// BitTorrent.
    pub fn torrent(&self) -> Result<Row> {
        torrent::run(self, &self.file()?)
    }

    /// The same bytes as a file: the squashfs that a head makes of the Debian root file system.
    fn file(&self) -> Result<PathBuf> {
        let mut lab = Lab::new("file")?;
        let port = lab.head_port(None)?;
        let key = KeyPair::generate(lab.work(), "id")?;
        let head = Head::set_up(&lab, port, &key, (&debian_tar(Flavour::Cloud)?, IMAGE), |_| ())?;
        let blob = Hosts::blob_of(&head)?;
        let file = cache_dir()?.join("contest.image");
        fs::copy(&blob, &file).with_context(|| format!("copy {}", blob.display()))?;
        drop(head);
        lab.succeeded();
        Ok(file)
    }

    /// Ten times what one server would need.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs_f64(120.0 + 4e9 / self.rate.bytes_per_second() * self.nodes as f64)
    }
}
