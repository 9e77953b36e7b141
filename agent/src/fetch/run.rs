//! Join, fetch, put in place, seed.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wulfpack_shared::id::{BootId, Hash};
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::image::{Header, Units};
use wulfpack_shared::net::store::{BLOB_FILE, FetchStore, UnitStore as _};
use wulfpack_shared::wire::{DataAddrs, JoinPurpose, Phase, ReportKind};

use super::FetchArgs;
use super::report::{Outcome, human, secs};
use crate::member::{Command, JoinOrder, Live, Member, MemberEvent, Upkeep, join, start_swarm};
use crate::report::{Queue, Reporter};

/// How often progress is shown: on a terminal, and as lines elsewhere.
const DRAW: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(5);
/// How long the last words to the head may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs the command.
///
/// # Errors
/// The ticket cannot be read, no head admits this host, the file cannot be written, or what arrived is not the image.
pub async fn run(args: FetchArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let ticket = args.read_ticket()?;
    let listen = args.listen(&ticket)?;
    let key = SecretKey::generate().map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))?;
    let mut boot = BootId::default();
    getrandom::fill(&mut boot.0).map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))?;
    let data = DataAddrs { port: listen.port(), ips: vec![listen.ip()] };
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
    let joined = join(&order).await?;
    let join_s = secs(started.elapsed());
    let (swarm, swarm_events) = start_swarm(&joined.identity, &data, None, &joined.header)?;
    let member = Member {
        client: Arc::clone(&joined.client),
        swarm,
        identity: joined.identity.clone(),
        trust: joined.identity.trust().clone(),
        image: joined.answer.image.id(),
        reporter: Reporter::new(Queue::new(boot, 1)),
        data,
        live: Arc::new(Mutex::new(Live {
            certificate: joined.answer.certificate.clone(),
            peers: joined.answer.peers.clone(),
        })),
    };
    member.reporter.tell(ReportKind::Reached(Phase::Join));
    let partial = Partial::create(&args.out)?;
    let store = Arc::new(FetchStore::create(&partial.0, &joined.answer.image, joined.header.clone())?);
    member.swarm.add_image(member.image, Arc::<FetchStore>::clone(&store), vec![]).await?;
    member.swarm.add_peers(joined.answer.peers.clone()).await?;
    let (upkeep, mut events) = Upkeep::start(member.clone(), swarm_events, joined.answer.track_after_s);
    let first_s = until_complete(&member, &joined.header, &mut events, started).await?;
    let complete_s = secs(started.elapsed());
    store.seal()?;
    check_and_place(&partial.0.join(BLOB_FILE), &args.out, &joined.header).await?;
    member.reporter.tell(ReportKind::Reached(Phase::Fetch));
    let summary = member.swarm.summary(&member.image);
    let outcome = Outcome {
        image: joined.header.name.to_string(),
        version: member.image.to_string(),
        bytes: joined.header.blob.len,
        from_heads: summary.from_heads,
        from_peers: summary.from_peers,
        wasted: summary.wasted,
        served: summary.served,
        join_s,
        first_s,
        complete_s,
    };
    let text = if args.json { serde_json::to_string(&outcome)? } else { outcome.to_string() };
    let mut out = std::io::stdout().lock();
    // Who closed the pipe has read enough.
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
    drop(out);
    seed(&args, &member).await?;
    leave(&member, upkeep).await;
    Ok(ExitCode::SUCCESS)
}

/// Goes on serving for as long as the user wants, or until a signal.
async fn seed(args: &FetchArgs, member: &Member) -> Result<()> {
    if args.seed == 0 {
        return Ok(());
    }
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    tracing::info!(image = %member.image, seconds = args.seed, "seeding");
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(args.seed)) => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

async fn leave(member: &Member, upkeep: Upkeep) {
    let words = async {
        while !member.reporter.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        upkeep.command(Command::Seeding(false)).await;
        member.swarm.drain(LAST_WORDS).await
    };
    if tokio::time::timeout(LAST_WORDS, words).await.is_err() {
        tracing::debug!("the head did not hear the last words");
    }
    member.swarm.shutdown().await;
}

/// Waits for the last unit; says when the first was there.
async fn until_complete(
    member: &Member,
    header: &Header,
    events: &mut mpsc::Receiver<MemberEvent>,
    started: Instant,
) -> Result<f64> {
    let total = Units::of(header).total();
    let bar = progress_bar(header);
    let mut draw = tokio::time::interval(if bar.is_hidden() { LINE } else { DRAW });
    let mut first = None;
    loop {
        let summary = member.swarm.summary(&member.image);
        if first.is_none() && summary.held > 0 {
            first = Some(secs(started.elapsed()));
        }
        if summary.held == total {
            bar.finish_and_clear();
            return Ok(first.unwrap_or_default());
        }
        tokio::select! {
            event = events.recv() => match event {
                Some(MemberEvent::Complete | MemberEvent::Renewed) => {}
                Some(MemberEvent::Starved { missing }) => {
                    bar.println(format!("nobody reachable holds {missing} of {total} units; waiting for a head or a peer"));
                }
                Some(MemberEvent::SelfSuspect) => {
                    bar.println("several peers' bytes arrived corrupt: this host's memory or network card is the suspect");
                }
                Some(MemberEvent::StoreFailed(reason)) => bail!(reason),
                Some(MemberEvent::Expelled(reason)) => bail!("the head no longer takes this host for a member: {reason}"),
                None => bail!("the data plane ended"),
            },
            _ = draw.tick() => {
                let bytes = summary.from_heads + summary.from_peers;
                bar.set_position(bytes.min(header.blob.len));
                bar.set_message(format!("{} from peers, {} connected", human(summary.from_peers), summary.peers));
                if bar.is_hidden() && bytes > 0 {
                    tracing::info!(held = summary.held, total, from_peers = summary.from_peers, "fetching");
                }
            }
        }
    }
}

fn progress_bar(header: &Header) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(header.blob.len), target).with_prefix(header.name.to_string());
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The folder beside the output in which the image grows; gone when the command ends, however it ends.
struct Partial(PathBuf);

impl Partial {
    fn create(out: &Path) -> Result<Self> {
        let name = out.file_name().context("the output is not the name of a file")?.to_string_lossy();
        let folder = out.with_file_name(format!(".{name}.part-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "left behind");
        }
    }
}

/// The whole is checked as a whole, then appears under its name. It is linked, not moved: the store goes on reading its own.
async fn check_and_place(blob: &Path, out: &Path, header: &Header) -> Result<()> {
    let (blob, out, expected) = (blob.to_owned(), out.to_owned(), header.blob.hash);
    tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(&blob).context("failed to open what was fetched")?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).context("failed to read what was fetched")?;
        let found = Hash(*hasher.finalize().as_bytes());
        if found != expected {
            bail!("the whole image has the hash {found:.16}, its manifest says {expected:.16}: this host's disk or memory is faulty");
        }
        let link = blob.with_file_name("placed");
        std::fs::hard_link(&blob, &link).context("failed to link the image")?;
        std::fs::rename(&link, &out).with_context(|| format!("failed to put the image at {}", out.display()))
    })
    .await?
}
