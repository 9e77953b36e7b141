//! A process of a pair: told what it is on its command line, it says `ready ADDRESS` when it can be dialled, and `done BYTES SECONDS`
//! when it has received all. It ends with its standard input.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tokio::runtime::Builder;
use wulfpack_shared::net::endpoint::{DataSocket, Tuning};

use super::knobs::Setting;
use super::site::Site;
use super::{bare, wulfpack};

/// What moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// The swarm.
    Wulfpack,
    /// quinn with the swarm's settings; reads, hashes, writes.
    Quinn,
    /// quinn with the swarm's settings, and nothing done with the bytes.
    Bare,
}

/// One end.
#[derive(Clone, Debug, clap::Args)]
pub struct End {
    /// What moves the bytes.
    #[arg(long, value_enum)]
    pub way: Way,
    /// The image's directory.
    #[arg(long)]
    pub dir: PathBuf,
    /// Where the sender is; without one this is the sender.
    #[arg(long)]
    pub from: Option<SocketAddr>,
    /// Where this end listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Name of the receiver's store.
    #[arg(long, default_value = "received")]
    pub store: String,
    /// Parameters that are not the swarm's own.
    #[arg(long = "set")]
    pub settings: Vec<Setting>,
}

impl End {
    /// Runs it.
    pub fn run(&self) -> Result<()> {
        // As the agent does.
        let alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
        let mut builder = if alone { Builder::new_current_thread() } else { Builder::new_multi_thread() };
        let runtime = builder.enable_all().build()?;
        runtime.block_on(async {
            let site = Site::open(&self.dir)?;
            let socket = DataSocket::bind(self.listen, None)?;
            let tuning = Setting::all(&self.settings, Tuning { link: 10_000_000_000, ..Tuning::default() })?;
            match (self.way, self.from) {
                (Way::Wulfpack, None) => wulfpack::send(&site, tuning, socket).await,
                (Way::Wulfpack, Some(from)) => wulfpack::receive(&site, tuning, socket, from, &self.store).await,
                (way, None) => bare::send(&site, tuning, socket, way).await,
                (way, Some(from)) => bare::receive(&site, tuning, socket, way, from, &self.store).await,
            }
        })
    }
}

/// Tells the process that started this one.
pub(super) fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("nobody listens")
}

/// Until standard input ends.
pub(super) async fn until_released() -> Result<()> {
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}
