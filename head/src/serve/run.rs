//! The life of a head: open, drop privileges, bind, serve, end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::core::{Core, Opened};
use super::places::Places;
use super::privileges::become_user;
use super::services::Services;
use crate::config::{Config, Keys, create_dir};
use crate::fleet::FleetHandle;
use crate::image::Library;
use crate::store::RedbStore;

/// How long chunks under way may take once the head was told to stop.
const DRAIN: Duration = Duration::from_secs(3);
/// How long the last writes may take.
const FLUSH: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT. Must be called before the process has a second thread.
///
/// # Errors
/// A key, the state, the registry or an interface cannot be used, a socket cannot be had, or a service ended; the error names it.
pub fn serve(config: Config) -> anyhow::Result<()> {
    let opened = open(config)?;
    // What needs privileges is open, except low ports, for which the right is kept; no byte from the network was read yet.
    become_user(&opened.config.user, &opened.config.paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(run_until_told(opened));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn open(config: Config) -> anyhow::Result<Opened> {
    let keys = Keys::load(&config.paths)?;
    let places = Places::of(&config)?;
    if places.addresses.is_empty() {
        tracing::warn!("no interface is configured: no node can reach this head; name one below `interfaces:`");
    }
    let (run, store) = (&config.paths.run, config.paths.store());
    for dir in [run, &config.paths.packed_agents()] {
        create_dir(dir, 0o750).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let store = Arc::new(RedbStore::open(&store)?);
    let library = Arc::new(Library::open(config.paths.images())?);
    Ok(Opened { config, keys, places, store, library })
}

async fn run_until_told(opened: Opened) -> anyhow::Result<()> {
    let mut stop = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (core, streams) = Core::open(opened).await?;
    let core = Arc::new(core);
    let (stop_writing, told) = watch::channel(false);
    let writer = tokio::spawn(core.fleet.clone().write_to(Arc::clone(&core.store), told));
    let mut services = Services::start(&core, streams).await?;
    let watchdog = tokio::spawn(watch_dog(core.fleet.clone()));
    tell(&[NotifyState::Ready]);
    tracing::info!("the head serves");
    let result = tokio::select! {
        error = services.ended() => Err(error),
        _ = stop.0.recv() => Ok(()),
        _ = stop.1.recv() => Ok(()),
    };
    tell(&[NotifyState::Stopping]);
    tracing::info!("the head stops");
    watchdog.abort();
    services.control.shutdown().await;
    if let Err(error) = core.swarm.drain(DRAIN).await {
        tracing::debug!(%error, "the swarm");
    }
    stop_writing.send_replace(true);
    if timeout(FLUSH, writer).await.is_err() {
        tracing::error!("the last records of boots could not be written in {} s", FLUSH.as_secs());
    }
    result
}

/// Tells systemd, where it has started us.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told how the head is");
    }
}

/// Shows systemd that the head is alive: the fleet answers.
async fn watch_dog(fleet: FleetHandle) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    loop {
        fleet.look(|fleet| fleet.version());
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 3).await;
    }
}
