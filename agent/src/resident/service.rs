//! `wulf-agent serve`: the systemd service of the running node.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wulfpack_shared::bootargs::BootArgs;
use wulfpack_shared::id::{PublicKey, VersionId};
use wulfpack_shared::identity::{CertificateError, SignedMembership};
use wulfpack_shared::image::Header;
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::net::store::{BLOB_FILE, SeedStore, TABLE_FILE};
use wulfpack_shared::net::tls::{Identity, Trust};
use wulfpack_shared::wire::{NodeState, Order, OrderKind, OrderOutcome, Phase, ReportKind, SeedPolicy};

use super::local::{self, Wish};
use super::next_boot;
use super::ready::wait_for_systemd;
use super::standing::stand_back;
use super::updates::{Updates, Want, node_state};
use crate::handover::{MemberState, Since, Taker};
use crate::member::{Command, Conduct, Live, Member, MemberEvent, Upkeep, start_swarm_after, until_renewed};
use crate::neighbour;
use crate::orders::{Listener, Told};
use crate::overlay::Record;
use crate::paths;
use crate::report::{Queue, Reporter, uptime_ms};
use crate::root::memory;

/// How long the port may take to become free once the worker has given it up.
const FREED: Duration = Duration::from_secs(5);
/// How long the last reports may take when the node goes down.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long systemd shall wait for one more try to reach a head, in microseconds: longer than a try and the pause after it.
const PATIENCE_US: u32 = 600_000_000;

/// Takes over from the worker that booted the node, or goes on after a restart.
pub async fn serve() -> Result<()> {
    let taken = Taker::connect(Path::new(paths::HANDOVER)).await.context("failed to take over from the boot")?;
    let (taker, mut state) = match taken {
        Some((taker, state)) => (Some(taker), state),
        None => {
            let state = MemberState::load(Path::new(paths::STATE))?;
            (None, state.context("this system was not booted by Wulfpack: there is no state of a boot")?)
        }
    };
    let signed = state.image.clone().context("the node has no image")?;
    let header = signed.verify(&state.cluster)?;
    let key = state.key().context("the node has no key")?;
    let client = Arc::new(ControlClient::new(state.heads.clone(), &key)?);
    let certificate = valid_certificate(&client, &key.public(), &mut state).await?;
    let time = state.cluster_now().context("the node never learned the cluster's time")?;
    let trust = Trust::new(state.cluster.clone(), ClusterClock::at(time));
    let identity = Identity::new(key.clone(), &certificate, trust.clone())?;
    let image_dir = Path::new(paths::IMAGE);
    let store = SeedStore::open(header.clone(), image_dir.join(BLOB_FILE), image_dir.join(TABLE_FILE))?;
    // A restarted service cannot know what the one before it told last.
    let resume = if taker.is_some() { Queue::resume } else { Queue::resume_after_death };
    let since = match taker {
        Some(taker) => taker.take().await.context("failed to take the port over")?,
        None => None,
    };
    let reporter = Reporter::new(resume(state.boot, state.next_event, state.events.clone()));
    let conduct = Conduct { seed: state.seed, manners: state.manners };
    let (swarm, swarm_events) = start_swarm_after(&identity, &state.data, &header, conduct, FREED).await?;
    stand_back(&state.manners);
    // All of it at once: what an earlier process verified is checked again when it is first served.
    let held = store.held();
    swarm.add_image(signed.id(), Arc::new(store), held).await?;
    if let Some(Since { turned_away, closed }) = since {
        let now = uptime_ms();
        let (away, deaf) = (now.saturating_sub(turned_away), now.saturating_sub(closed));
        reporter.log(format!(
            "serving as the service of the running system; at the hand-over new requests were turned away for {away} ms, \
             for {deaf} ms of them nobody listened"
        ));
    }
    swarm.add_peers(state.peers.clone()).await?;
    let live = Arc::new(Mutex::new(Live { certificate, peers: state.peers.clone() }));
    let (data, image, counted) = (state.data.clone(), signed.id(), state.counted);
    let member = Member { client, swarm, identity, trust, image, reporter, data, live, counted };
    let (upkeep, events) = Upkeep::start(member.clone(), swarm_events, 1);
    // Without a record the head's word on the runtime overlays is applied once more, and makes one.
    let record = Record::load(Path::new(paths::OVERLAYS)).unwrap_or_default();
    let seeds = NodeState { seeds: state.seed != SeedPolicy::Never, ..NodeState::default() };
    let (listener, told) = Listener::start(Arc::clone(&member.client), node_state(&record, seeds), seed()?);
    let listener = Arc::new(listener);
    let updates = Updates::start(Arc::clone(&member.client), Arc::clone(&listener), member.reporter.clone());
    let neighbours = give_to_neighbours(&state, signed.id(), header);
    let wishes = local::listen(Path::new(paths::CONTROL)).context("failed to listen for `wulf-agent pause`")?;
    let mut resident = Resident { member, upkeep, events, listener, updates, told, wishes, seeding: true, state };
    if Path::new(paths::PAUSED).exists() {
        let outcome = resident.pause(true).await;
        tracing::debug!(?outcome, "paused");
        resident.member.reporter.log("paused, as before the restart");
    }
    resident.save();
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("")])
        .context("failed to tell systemd that the service is ready")?;
    let served = resident.run().await;
    neighbours.abort();
    served
}

/// Neighbour boot, where the head's words on the command line ask for it; a task that ends at once where they do not.
fn give_to_neighbours(state: &MemberState, version: VersionId, header: Header) -> JoinHandle<()> {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let port = line.parse::<BootArgs>().ok().and_then(|args| args.neighbour);
    let places = port.zip(state.data.ips.first().copied()).zip(state.heads.first().map(|head| head.control.ip()));
    tokio::spawn(async move {
        let Some(((port, own), head)) = places else { return };
        let files = neighbour::Files::new(version, header);
        let ended = neighbour::serve(SocketAddr::new(own, port), SocketAddr::new(head, port), files).await;
        if let Err(error) = ended {
            tracing::warn!(error = format!("{error:#}"), "nodes that boot get nothing from this one");
        }
    })
}

/// The member's certificate. One that ran out while no head was there, and this service was started again, is renewed first: a
/// node must not have to boot for that.
async fn valid_certificate(
    client: &ControlClient,
    key: &PublicKey,
    state: &mut MemberState,
) -> Result<SignedMembership> {
    let certificate = state.certificate.clone().context("the node never joined")?;
    let now = state.cluster_now().context("the node never learned the cluster's time")?;
    let Err(CertificateError::OutOfTime { .. }) = certificate.verify(&state.cluster, key, now) else {
        return Ok(certificate);
    };
    let asking = || {
        // Else systemd would take the wait for a hang. Without systemd there is nobody to tell.
        let _unheard = sd_notify::notify(&[
            NotifyState::ExtendTimeoutUsec(PATIENCE_US),
            NotifyState::Status("the certificate ran out: waiting for a head to renew it"),
        ]);
    };
    let renewed = until_renewed(client, key, &certificate, &state.cluster, asking).await;
    state.cluster = renewed.cluster;
    state.cluster_time = Some((renewed.time, uptime_ms()));
    Ok(renewed.certificate)
}

/// For pauses that differ from node to node.
fn seed() -> Result<u64> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))?;
    Ok(u64::from_le_bytes(seed))
}

/// Removes a file that may be gone already.
fn forget(path: &str) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

struct Resident {
    member: Member,
    upkeep: Upkeep,
    events: mpsc::Receiver<MemberEvent>,
    listener: Arc<Listener>,
    updates: Updates,
    told: mpsc::Receiver<Told>,
    wishes: mpsc::Receiver<Wish>,
    /// The seed policy still wants this node to give.
    seeding: bool,
    state: MemberState,
}

impl Resident {
    async fn run(&mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
        let mut system = Box::pin(wait_for_systemd());
        let mut told = self.state.ready;
        let mut enough = Box::pin(tokio::time::sleep(self.seed_time()));
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                outcome = &mut system, if !told => {
                    told = true;
                    self.tell_ready(outcome);
                    enough = Box::pin(tokio::time::sleep(self.seed_time()));
                }
                () = &mut enough, if self.seeding && told && self.state.seed != SeedPolicy::Always => {
                    self.seeding = false;
                    self.listener.state(|state| state.seeds = false);
                    self.upkeep.command(Command::Seeding(false)).await;
                    self.upkeep.command(Command::Busy(false)).await;
                    self.member.swarm.drain(LAST_WORDS).await?;
                    // Nobody calls a member that has left, and whoever does costs it nothing.
                    self.member.swarm.set_paused(true).await?;
                }
                Some(told) = self.told.recv() => self.obey(told).await,
                Some(Wish { pause, done }) = self.wishes.recv() => drop(done.send(self.pause(pause).await)),
                event = self.events.recv() => match event {
                    Some(MemberEvent::Renewed) => self.save(),
                    Some(MemberEvent::StoreFull(reason) | MemberEvent::StoreFailed(reason)) => {
                        tracing::warn!(%reason, "the image is not served as it should be");
                        self.member.reporter.log(format!("the image is not served as it should be: {reason}"));
                    }
                    Some(event) => tracing::info!(?event, "swarm"),
                    None => anyhow::bail!("the data plane ended"),
                },
            }
        }
        self.leave().await;
        Ok(())
    }

    /// Does what the head wants.
    async fn obey(&mut self, told: Told) {
        match told {
            Told::Order(Order { number, what, .. }) => match what {
                OrderKind::Overlay { force } => self.updates.want(Want::Order { number, force }),
                OrderKind::Pause | OrderKind::Resume => {
                    let outcome = self.pause(what == OrderKind::Pause).await;
                    self.listener.ended(number, outcome);
                }
            },
            Told::Drifted(_) => self.updates.want(Want::Drifted),
        }
    }

    /// Leaves the swarm at once, or comes back as far as the seed policy says; both last until told otherwise, also across a restart of
    /// this service.
    async fn pause(&mut self, paused: bool) -> OrderOutcome {
        let remember = if paused { std::fs::write(paths::PAUSED, "") } else { forget(paths::PAUSED) };
        if let Err(error) = remember {
            tracing::warn!(%error, "a restart of this service will not know: {}", paths::PAUSED);
        }
        if let Err(error) = self.member.swarm.set_paused(paused || !self.seeding).await {
            return OrderOutcome::Failed(error.to_string());
        }
        self.upkeep.command(Command::Seeding(!paused && self.seeding)).await;
        self.listener.state(|state| state.paused = paused);
        let now = match (paused, self.seeding) {
            (true, _) => "gives nothing to the swarm",
            (false, true) => "gives to the swarm",
            (false, false) => "its seed time is over",
        };
        OrderOutcome::Done(now.to_owned())
    }

    fn seed_time(&self) -> Duration {
        match self.state.seed {
            SeedPolicy::Seconds(secs) => Duration::from_secs(secs.into()),
            SeedPolicy::Always | SeedPolicy::Never => Duration::ZERO,
        }
    }

    fn tell_ready(&mut self, outcome: Result<super::SystemState>) {
        let reporter = &self.member.reporter;
        match outcome {
            Ok(system) => reporter.tell(ReportKind::System { state: system.state, failed: system.failed }),
            Err(error) => reporter.log(format!("systemd's state is unknown: {error:#}")),
        }
        reporter.tell(ReportKind::MemAvailable(memory().map_or(0, |memory| memory.available)));
        reporter.tell(ReportKind::Reached(Phase::Ready));
        self.state.ready = true;
        self.save();
    }

    /// For the next process of this boot.
    fn save(&mut self) {
        {
            let live = self.member.live.lock().unwrap_or_else(PoisonError::into_inner);
            self.state.certificate = Some(live.certificate.clone());
            self.state.peers = live.peers.clone();
        }
        // A renewal may have brought a new key of the cluster, and the head's time.
        let trust = &self.member.trust;
        self.state.cluster = trust.cluster();
        self.state.cluster_time = Some((trust.clock().now(), uptime_ms()));
        (self.state.next_event, self.state.events) = self.member.reporter.parts();
        self.state.counted = self.member.summary();
        if let Err(error) = self.state.save(Path::new(paths::STATE)) {
            tracing::error!(%error, "a restart of this service would lose the membership");
        }
    }

    async fn leave(&mut self) {
        let _unneeded = sd_notify::notify(&[NotifyState::Stopping]);
        next_boot::announce(&self.member.client).await;
        self.upkeep.command(Command::Seeding(false)).await;
        let _broken_off = self.member.swarm.drain(LAST_WORDS).await;
        self.save();
        self.member.swarm.shutdown().await;
    }
}
