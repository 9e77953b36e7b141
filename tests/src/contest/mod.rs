//! One image to N hosts over shaped links: Wulfpack and what else distributes files, on the same links in one run.
//!
//! * `row`: the figures. * `ours`: `wulf serve` and `wulf-agent fetch`. * `web`: nginx and curl. * `torrent`: libtorrent.

mod ours;
mod row;
mod torrent;
mod web;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cluster::{Hosts, IMAGE};
use crate::harness::{Flavour, Head, KeyPair, Lab, Rate, cache_dir, debian_tar};

pub use row::{Row, table};

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
}
