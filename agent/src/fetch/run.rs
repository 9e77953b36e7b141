//! Join, fetch, put in place, seed.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use wulfpack_shared::id::BootId;
use wulfpack_shared::identity::Ticket;
use wulfpack_shared::image::Header;
use wulfpack_shared::net::endpoint::DataSocket;
use wulfpack_shared::net::store::{Donors, FetchStore};
use wulfpack_shared::wire::{DataAddrs, JoinPurpose, Phase, RefusalReason, ReportKind, SwarmSummary};

use super::file::{Arriving, Place};
use super::progress::{Progress, say};
use super::report::{Outcome, secs};
use super::{Exit, FetchArgs, link_towards};
use crate::member::{
    AskError, Command, JoinError, JoinOrder, Joined, Link, Live, Member, MemberEvent, Upkeep, join, start_swarm_on,
};
use crate::report::{Queue, Reporter, used};

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Heads that do not answer, or are busy, are asked again for so long.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);
/// How long the last words to the head may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs the command. What went wrong is written to standard error; the exit code is that of an [`Exit`].
///
/// # Errors
/// Signals cannot be watched for.
pub async fn run(args: FetchArgs) -> Result<ExitCode> {
    let mut stop = Stop::new()?;
    match fetch(&args, &mut stop).await {
        Ok(()) => Ok(Exit::Ok.into()),
        Err(error) => {
            say(&format!("wulf-agent fetch: {error:#}"));
            Ok(Exit::of(&error).into())
        }
    }
}

async fn fetch(args: &FetchArgs, stop: &mut Stop) -> Result<()> {
    let started = Instant::now();
    let limit = args.timeout.map(|seconds| started + Duration::from_secs(seconds));
    let usage = |error: anyhow::Error| Exit::Usage.because(format!("{error:#}"));
    let ticket = args.read_ticket().map_err(usage)?;
    let listen = args.listen(&ticket).map_err(usage)?;
    let admission = admission(args, &ticket, listen, started);
    let mut fetching = tokio::select! {
        admitted = admission => admitted?,
        cut = cut_short(args, limit, stop) => return Err(cut),
    };
    let fetched = tokio::select! {
        fetched = fetching.until_placed() => fetched,
        cut = cut_short(args, limit, stop) => Err(cut),
    };
    let told = match fetched {
        Ok(outcome) => fetching.tell_and_seed(args, &outcome, stop).await,
        Err(error) => Err(error),
    };
    fetching.leave().await;
    told
}

/// Why the work ends before it is done.
async fn cut_short(args: &FetchArgs, limit: Option<Instant>, stop: &mut Stop) -> anyhow::Error {
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep_until(limit.into()).await,
            None => core::future::pending().await,
        }
    };
    let again = "the same command goes on where this one stopped";
    tokio::select! {
        () = late => {
            let seconds = args.timeout.unwrap_or_default();
            Exit::Timeout.because(format!("the image was not complete after {seconds} s; {again}"))
        }
        () = stop.wait() => Exit::Interrupted.because(format!("interrupted; {again}")),
    }
}

/// A member that fetches.
struct Fetching {
    member: Member,
    upkeep: Upkeep,
    events: mpsc::Receiver<MemberEvent>,
    arriving: Arc<Arriving>,
    header: Header,
    started: Instant,
    join_s: f64,
}

/// From the ticket to a swarm that fetches.
async fn admission(args: &FetchArgs, ticket: &Ticket, listen: SocketAddr, started: Instant) -> Result<Fetching> {
    let (out, have, cache) = (args.out.clone(), args.have.clone(), args.cache()?);
    let (place, key, donors) = tokio::task::spawn_blocking(move || {
        let place = Place::claim(&out)?;
        let key = place.key()?;
        // Before the token counts: a file that cannot be read must not cost it.
        let mut donors = Donors::index(have).map_err(|error| Exit::Usage.because(format!("--have: {error}")))?;
        cache.as_ref().map_or(Ok(()), |cache| cache.lend(&mut donors))?;
        anyhow::Ok((place, key, donors))
    })
    .await??;
    let mut boot = BootId::default();
    getrandom::fill(&mut boot.0).map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))?;
    // Bound first: a port that is taken must not cost a redeemed ticket, and port 0 becomes a number.
    let socket = DataSocket::bind(listen, None)?;
    let local = socket.local_addr();
    let ips = if local.ip().is_unspecified() { vec![] } else { vec![local.ip()] };
    let data = DataAddrs { port: local.port(), ips };
    let order = JoinOrder {
        heads: &ticket.heads,
        cluster: &ticket.cluster,
        key: &key,
        token: &ticket.token,
        purpose: JoinPurpose::Fetch { image: args.image.clone() },
        boot,
        data: data.clone(),
        clock_offset_ms: 0,
    };
    let joined = match join_patiently(&order).await {
        Ok(joined) => joined,
        Err(error) => {
            // Where nobody answered, the head may have heard, and counts the token for this key.
            if !matches!(error, JoinError::Ask(AskError::Unreachable(_))) {
                place.abandon();
            }
            return Err(error.into());
        }
    };
    let join_s = secs(started.elapsed());
    let link = ticket.heads.first().map(|head| link_towards(head.control)).unwrap_or_default();
    let link = Link { mtu: link.mtu, speed: link.speed };
    let (swarm, swarm_events) = start_swarm_on(&joined.identity, vec![socket], link, &joined.header, args.conduct())?;
    let Joined { answer, header, identity, client, .. } = joined;
    let member = Member {
        client,
        swarm,
        trust: identity.trust().clone(),
        identity,
        image: answer.image.id(),
        reporter: Reporter::new(Queue::new(boot, 1)),
        data,
        live: Arc::new(Mutex::new(Live { certificate: answer.certificate, peers: answer.peers.clone() })),
        counted: SwarmSummary::default(),
    };
    member.reporter.tell(ReportKind::Reached(Phase::Join));
    let (signed, parts) = (answer.image, header.clone());
    let arriving =
        Arc::new(tokio::task::spawn_blocking(move || Arriving::begin(place, &signed, &parts, donors)).await??);
    let store = Arc::<FetchStore>::clone(&arriving.store);
    member.swarm.add_image(member.image, store, arriving.held.clone()).await?;
    member.swarm.add_peers(answer.peers).await?;
    let (upkeep, events) = Upkeep::start(member.clone(), swarm_events, answer.track_after_s);
    Ok(Fetching { member, upkeep, events, arriving, header, started, join_s })
}

/// Asks until a head says yes, or no for good, or [`JOIN_PATIENCE`] is over.
async fn join_patiently(order: &JoinOrder<'_>) -> Result<Joined, JoinError> {
    let end = Instant::now() + JOIN_PATIENCE;
    let mut pause = Duration::from_millis(500);
    loop {
        let passing = match join(order).await {
            Err(JoinError::Ask(error)) if passes(&error) => error,
            done => return done,
        };
        if Instant::now() + pause >= end {
            return Err(passing.into());
        }
        say(&format!("{passing}; trying again"));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(8));
    }
}

fn passes(error: &AskError) -> bool {
    match error {
        AskError::Unreachable(_) => true,
        AskError::Refused(refusal) => refusal.reason == RefusalReason::Busy,
        AskError::Confused | AskError::Random(_) | AskError::Time(_) => false,
    }
}

impl Fetching {
    /// Until the image is complete, checked, and has its name.
    async fn until_placed(&mut self) -> Result<Outcome> {
        let resumed = self.arriving.resumed;
        let first_s = self.until_complete(resumed).await?;
        let complete_s = secs(self.started.elapsed());
        let stats = self.member.swarm.stats().await?;
        // Read once as a whole; peers are served meanwhile.
        let arriving = Arc::clone(&self.arriving);
        tokio::task::spawn_blocking(move || arriving.finish()).await??;
        self.member.reporter.tell(ReportKind::Reached(Phase::Fetch));
        let (summary, used) = (self.member.swarm.summary(&self.member.image), used());
        Ok(Outcome {
            image: self.header.name.to_string(),
            version: self.member.image.to_string(),
            bytes: self.header.blob.len,
            from_heads: summary.from_heads,
            from_peers: summary.from_peers,
            resumed,
            reused: self.arriving.store.reused(),
            wasted: summary.wasted,
            served: summary.served,
            cpu_s: secs(used.cpu),
            memory_peak: used.memory_peak,
            requests: stats.requests,
            turned_down: stats.busy,
            messages: stats.haves + stats.slot_messages,
            join_s: self.join_s,
            first_s,
            complete_s,
        })
    }

    /// Waits for the last unit; says when the first was there.
    async fn until_complete(&mut self, resumed: u64) -> Result<f64> {
        let mut progress = Progress::new(&self.header);
        let mut look = tokio::time::interval(LOOK);
        let mut first = None;
        loop {
            let summary = self.member.swarm.summary(&self.member.image);
            if first.is_none() && summary.from_heads + summary.from_peers > 0 {
                first = Some(secs(self.started.elapsed()));
            }
            progress.show(&summary, resumed);
            tokio::select! {
                event = self.events.recv() => {
                    let event = event.context("the data plane ended")?;
                    if event == MemberEvent::Complete {
                        progress.done();
                        return Ok(first.unwrap_or_else(|| secs(self.started.elapsed())));
                    }
                    heard(event, &progress, summary.total)?;
                }
                _ = look.tick() => {}
            }
        }
    }

    /// Prints what the fetch ended with, then serves as long as the user wants, or until a signal.
    async fn tell_and_seed(&mut self, args: &FetchArgs, outcome: &Outcome, stop: &mut Stop) -> Result<()> {
        let text = if args.json { serde_json::to_string(outcome)? } else { outcome.to_string() };
        {
            let mut out = std::io::stdout().lock();
            // Who closed the pipe has read enough.
            let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
        }
        let kept = args.cache()?.map(|cache| {
            let (arriving, version) = (Arc::clone(&self.arriving), self.member.image);
            tokio::task::spawn_blocking(move || cache.keep(version, &arriving.store))
        });
        let seeded = self.seed(args, stop).await;
        if let Some(kept) = kept
            && let Err(error) = kept.await?
        {
            // The image is there; the next fetch has more to do.
            say(&format!("{error:#}"));
        }
        seeded
    }

    async fn seed(&mut self, args: &FetchArgs, stop: &mut Stop) -> Result<()> {
        if args.seed == 0 {
            return Ok(());
        }
        tracing::info!(image = %self.member.image, seconds = args.seed, "seeding");
        let end = tokio::time::sleep(Duration::from_secs(args.seed));
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                () = stop.wait() => return Ok(()),
                // Read on, so that the upkeep never waits for us.
                event = self.events.recv() => match event {
                    Some(MemberEvent::Expelled(reason)) => return Err(expelled(&reason)),
                    Some(event) => tracing::debug!(?event, "while seeding"),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn leave(self) {
        let words = async {
            while !self.member.reporter.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
            self.upkeep.command(Command::Seeding(false)).await;
            self.member.swarm.drain(LAST_WORDS).await
        };
        if tokio::time::timeout(LAST_WORDS, words).await.is_err() {
            tracing::debug!("the head did not hear the last words");
        }
        self.member.swarm.shutdown().await;
    }
}

fn heard(event: MemberEvent, progress: &Progress, total: u32) -> Result<()> {
    match event {
        MemberEvent::Complete | MemberEvent::Renewed => {}
        MemberEvent::Starved { missing } => {
            progress.tell(&format!("nobody reachable holds {missing} of {total} units; waiting for a head or a peer"));
        }
        MemberEvent::SelfSuspect => {
            progress.tell("several peers' bytes arrived corrupt: this host's memory or network card is the suspect")
        }
        MemberEvent::StoreFull(reason) => return Err(Exit::NoSpace.because(reason)),
        MemberEvent::StoreFailed(reason) => return Err(Exit::Failed.because(reason)),
        MemberEvent::Expelled(reason) => return Err(expelled(&reason)),
    }
    Ok(())
}

fn expelled(reason: &str) -> anyhow::Error {
    Exit::Refused.because(format!("the head no longer takes this host for a member: {reason}"))
}

/// Ctrl-C, or the service manager's word.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let watch = |kind| signal(kind).context("failed to watch for signals");
        Ok(Self { interrupt: watch(SignalKind::interrupt())?, terminate: watch(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
