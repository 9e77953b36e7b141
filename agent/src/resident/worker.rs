//! The worker after the pivot: it serves without a gap until the service of the running system takes over, or, where there is
//! no such service, until the seed policy says that it is enough.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use wulfpack_shared::wire::{Phase, ReportKind, SeedPolicy};

use super::ready::has_systemd;
use super::standing::stand_back;
use crate::handover::{Giver, MemberState, Since};
use crate::life::{Context, Membered};
use crate::member::Command;
use crate::paths;
use crate::report::uptime_ms;
use crate::root::memory;

/// Without systemd nobody can say when the system has finished starting: long enough for an init script.
const SETTLED: Duration = Duration::from_secs(30);

/// Longest wait for active transfers to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until relieved. Returns when the port is the service's.
pub async fn until_relieved(membered: Membered, context: &Arc<Context>) -> Result<()> {
    // What it starts from here on is nobody's service: hooks have run, and init is on its own.
    stand_back(&membered.settings.manners);
    let giver = Giver::bind(Path::new(paths::HANDOVER)).context("failed to make the hand-over socket")?;
    let seeding = async {
        if !has_systemd_soon().await {
            context.reporter.tell(ReportKind::MemAvailable(memory().map_or(0, |memory| memory.available)));
            context.reporter.tell(ReportKind::Reached(Phase::Ready));
        }
        if let SeedPolicy::Seconds(secs) = membered.settings.seed {
            tokio::time::sleep(Duration::from_secs(secs.into())).await;
            membered.upkeep.command(Command::Seeding(false)).await;
            membered.upkeep.command(Command::Busy(false)).await;
        }
        std::future::pending().await
    };
    let given = tokio::select! {
        given = giver.give(|| state(&membered, context)) => given.context("failed to hand over")?,
        never = seeding => never,
    };
    // Active transfers end, new ones are turned away with the peers told to look elsewhere: nobody's request fails.
    let swarm = &membered.member.swarm;
    let turned_away = uptime_ms();
    swarm.drain(DRAIN).await.context("failed to end the active transfers")?;
    let closed = uptime_ms();
    swarm.shutdown().await;
    given.release(Since { turned_away, closed }).await.context("failed to tell the service that the port is free")
}

async fn has_systemd_soon() -> bool {
    for _ in 0..SETTLED.as_secs() {
        if has_systemd() {
            return true;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    false
}

fn state(membered: &Membered, context: &Context) -> MemberState {
    let mut state = context.state().clone();
    {
        let live = membered.member.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.certificate = Some(live.certificate.clone());
        state.peers = live.peers.clone();
    }
    let trust = &membered.member.trust;
    state.cluster = trust.cluster();
    state.cluster_time = Some((trust.clock().now(), uptime_ms()));
    state.counted = membered.member.summary();
    (state.next_event, state.events) = membered.member.reporter.parts();
    state
}
