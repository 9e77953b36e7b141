//! Does what [`Schedule`] says: tracks, reports, renews, and passes on what the swarm tells.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wulfpack_shared::id::VersionId;
use wulfpack_shared::identity::SignedMembership;
use wulfpack_shared::net::clock::MonoClock;
use wulfpack_shared::net::control::{ControlClient, ControlError};
use wulfpack_shared::net::swarm::{Swarm, SwarmEvent};
use wulfpack_shared::net::tls::{Identity, Trust};
use wulfpack_shared::wire::{
    ControlRequest, ControlResponse, DataAddrs, PeerInfo, RefusalReason, RenewAnswer, RenewRequest, ReportKind,
    SwarmSummary, TrackImage, TrackRequest,
};

use super::machine::{Input, Output, Schedule, Talk};
use super::renew::{RenewError, Renewed};
use crate::report::Reporter;

/// A member of the swarm with all that keeps it one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Member {
    /// The control plane.
    pub client: Arc<ControlClient>,
    /// The data plane.
    pub swarm: Arc<Swarm>,
    /// Key and certificate as the data plane shows them.
    pub identity: Identity,
    /// Whom it believes.
    pub trust: Trust,
    /// The image it takes part in.
    pub image: VersionId,
    /// Where events go.
    pub reporter: Reporter,
    /// Where its data plane listens.
    pub data: DataAddrs,
    /// What changes while it lives.
    pub live: Arc<Mutex<Live>>,
    /// What earlier processes of the same boot counted.
    pub counted: SwarmSummary,
}

impl Member {
    /// The boot's counters in the swarm.
    pub fn summary(&self) -> SwarmSummary {
        self.swarm.summary(&self.image).after(self.counted)
    }
}

/// What changes while a member lives.
#[derive(Clone, Debug)]
pub struct Live {
    /// The certificate in use.
    pub certificate: SignedMembership,
    /// Peers that the tracker named, the newest last.
    pub peers: Vec<PeerInfo>,
}

/// What the owner of a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// Every unit is verified.
    Complete,
    /// Nobody reachable holds some of the units.
    Starved {
        /// How many units nobody holds.
        missing: u32,
    },
    /// The store cannot take more: no space.
    StoreFull(String),
    /// The store cannot be read or written for another reason.
    StoreFailed(String),
    /// Several peers' bytes were corrupt: this machine is the suspect.
    SelfSuspect,
    /// The certificate was renewed: what lies in a file is out of date.
    Renewed,
    /// The head does not know this member any more; it must join again.
    Expelled(String),
}

/// What the owner of a member asks of its upkeep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take part in the swarm, or leave it.
    Seeding(bool),
    /// Report counters regularly, or only with events.
    Busy(bool),
}

/// The task's handle. The task ends when it is dropped.
#[derive(Debug)]
pub struct Upkeep {
    commands: mpsc::Sender<Command>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upkeep {
    /// Starts the upkeep of `member`, whose swarm tells through `swarm_events`.
    pub fn start(
        member: Member,
        swarm_events: mpsc::Receiver<SwarmEvent>,
        track_after_s: u16,
    ) -> (Self, mpsc::Receiver<MemberEvent>) {
        let (events_in, events) = mpsc::channel(64);
        let (commands, commands_out) = mpsc::channel(8);
        let task = tokio::spawn(run(member, swarm_events, commands_out, events_in, track_after_s));
        (Self { commands, task }, events)
    }

    /// Asks the task for something; a task that has ended needs nothing.
    pub async fn command(&self, command: Command) {
        let _ended = self.commands.send(command).await;
    }
}

/// What was asked, with the nonce that a signed time has to answer.
type Answer = (Talk, [u8; 16], Result<ControlResponse, ControlError>);

async fn run(
    member: Member,
    mut swarm_events: mpsc::Receiver<SwarmEvent>,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<MemberEvent>,
    track_after_s: u16,
) {
    let clock = MonoClock::start();
    let now = || clock.stamp(member.trust.clock());
    let mut schedule = Schedule::new(now(), track_after_s, u64::from_le_bytes(first8(&member.identity.key().0)));
    schedule.handle_input(now(), certificate(&member));
    let mut requests: JoinSet<Answer> = JoinSet::new();
    let mut seeding = true;
    loop {
        while let Some(Output::Send { talk, want }) = schedule.poll_output() {
            match request(&member, talk, want, !seeding) {
                Some(request) => {
                    let client = Arc::clone(&member.client);
                    let nonce = nonce(&request);
                    requests.spawn(async move { (talk, nonce, client.request(request).await) });
                }
                None => schedule.handle_input(now(), Input::Answered(talk)),
            }
        }
        let wake = schedule
            .poll_timeout()
            .map_or_else(|| Instant::now() + Duration::from_secs(3600), |(at, _)| clock.instant(at));
        let inputs = tokio::select! {
            event = swarm_events.recv() => match event {
                Some(event) => swarm_event(&member, &events, event).await,
                None => return,
            },
            command = commands.recv() => match command {
                Some(Command::Seeding(on)) => {
                    seeding = on;
                    vec![Input::Seeding(on)]
                }
                Some(Command::Busy(on)) => vec![Input::Busy(on)],
                None => return,
            },
            () = member.reporter.rung() => vec![Input::EventWaits],
            Some(Ok(answer)) = requests.join_next() => answered(&member, &events, answer).await,
            () = tokio::time::sleep_until(wake.into()) => vec![Input::Tick],
        };
        for input in inputs {
            schedule.handle_input(now(), input);
        }
    }
}

fn first8(key: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    [a, b, c, d, e, f, g, h]
}

fn certificate(member: &Member) -> Input {
    let membership = member.identity.membership();
    Input::Certificate { issued: membership.not_before, until: membership.not_after }
}

fn live(member: &Member) -> std::sync::MutexGuard<'_, Live> {
    member.live.lock().unwrap_or_else(PoisonError::into_inner)
}

fn request(member: &Member, talk: Talk, want: u16, leaving: bool) -> Option<ControlRequest> {
    let summary = member.summary();
    Some(match talk {
        Talk::Track => ControlRequest::Track(TrackRequest {
            data: member.data.clone(),
            images: vec![TrackImage { image: member.image, held: summary.held, total: summary.total }],
            want,
            have: live(member).peers.iter().map(|peer| peer.key).collect(),
            leaving,
        }),
        Talk::Report => ControlRequest::Report(member.reporter.batch(Some(summary))?),
        Talk::Renew => {
            let (certificate, nonce) = (live(member).certificate.clone(), super::ask::nonce().ok()?);
            ControlRequest::Renew(RenewRequest { certificate, nonce })
        }
    })
}

/// The nonce of a request that has one.
const fn nonce(request: &ControlRequest) -> [u8; 16] {
    match request {
        ControlRequest::Renew(request) => request.nonce,
        _ => [0; 16],
    }
}

fn renew(member: &Member, nonce: &[u8; 16], answer: RenewAnswer) -> Result<(), RenewError> {
    let renewed = Renewed::check(answer, nonce, &member.identity.key(), &member.trust.cluster())?;
    renewed.apply(&member.identity)?;
    live(member).certificate = renewed.certificate;
    Ok(())
}

async fn swarm_event(member: &Member, events: &mpsc::Sender<MemberEvent>, event: SwarmEvent) -> Vec<Input> {
    let told = match event {
        SwarmEvent::AskTracker { want } => return vec![Input::AskTracker { want }],
        SwarmEvent::CorruptFrom { peer, unit, .. } => {
            member.reporter.tell(ReportKind::CorruptFrom { peer, unit });
            None
        }
        SwarmEvent::Complete { .. } => Some(MemberEvent::Complete),
        SwarmEvent::Starved { missing, .. } => Some(MemberEvent::Starved { missing }),
        SwarmEvent::Rotten { unit, .. } => {
            // Its own accuser: the head tells it from a peer by the key.
            member.reporter.tell(ReportKind::CorruptFrom { peer: member.identity.key(), unit });
            None
        }
        SwarmEvent::StoreFull(reason) => Some(MemberEvent::StoreFull(reason)),
        SwarmEvent::StoreFailed(reason) => Some(MemberEvent::StoreFailed(reason)),
        SwarmEvent::SelfSuspect => Some(MemberEvent::SelfSuspect),
        SwarmEvent::Misbehaved { peer, what } => {
            member.reporter.log(format!("peer {peer:.16} misbehaves: {what}"));
            None
        }
        SwarmEvent::PagesComplete { .. } | SwarmEvent::Covered { .. } => None,
    };
    if let Some(told) = told {
        let _nobody_listens = events.send(told).await;
    }
    vec![]
}

async fn answered(member: &Member, events: &mpsc::Sender<MemberEvent>, (talk, nonce, answer): Answer) -> Vec<Input> {
    match answer {
        Ok(ControlResponse::Peers(answer)) if talk == Talk::Track => {
            {
                let mut live = live(member);
                for peer in &answer.peers {
                    live.peers.retain(|known| known.key != peer.key);
                    live.peers.push(peer.clone());
                }
                live.peers.retain(|known| !answer.revoked.contains(&known.key));
                let surplus = live.peers.len().saturating_sub(wulfpack_shared::limits::PEERS_MAX);
                live.peers.drain(..surplus);
            }
            let passed_on = async {
                member.swarm.revoke(answer.revoked).await?;
                member.swarm.set_rack(answer.rack_size, answer.rack_cap).await?;
                member.swarm.add_peers(answer.peers).await
            };
            if let Err(error) = passed_on.await {
                tracing::debug!(%error, "peers not passed on");
            }
            vec![Input::Answered(talk), Input::TrackAgain(answer.again_s)]
        }
        Ok(ControlResponse::Recorded { through }) if talk == Talk::Report => {
            member.reporter.recorded(through);
            let more = if member.reporter.is_empty() { None } else { Some(Input::EventWaits) };
            [Input::Answered(talk)].into_iter().chain(more).collect()
        }
        Ok(ControlResponse::Renewed(answer)) if talk == Talk::Renew => {
            if let Err(error) = renew(member, &nonce, answer) {
                tracing::warn!(%error, "the head sent a certificate that does not count");
                return vec![Input::Failed(talk)];
            }
            let _nobody_listens = events.send(MemberEvent::Renewed).await;
            vec![Input::Answered(talk), certificate(member)]
        }
        Ok(ControlResponse::Refused(refusal)) => {
            tracing::warn!(reason = %refusal.text, ?talk, "the head refuses");
            if refusal.reason == RefusalReason::NotMember {
                let _nobody_listens = events.send(MemberEvent::Expelled(refusal.text)).await;
            }
            vec![Input::Failed(talk)]
        }
        Ok(_) => {
            tracing::warn!(?talk, "the head answered something else than was asked");
            vec![Input::Failed(talk)]
        }
        Err(error) => {
            tracing::debug!(%error, ?talk, "no head answers");
            vec![Input::Failed(talk)]
        }
    }
}
