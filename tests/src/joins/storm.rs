//! The agents.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::task::JoinSet;
use wulfpack_agent::member::{AskError, JoinError, JoinOrder, Joined, join};
use wulfpack_head::admin::TicketFor;
use wulfpack_shared::id::BootId;
use wulfpack_shared::identity::{SecretKey, Ticket};
use wulfpack_shared::wire::{
    ControlRequest, ControlResponse, DataAddrs, JoinPurpose, RefusalReason, TrackImage, TrackRequest,
};

use super::watch::{kernel, longest_stall};
use crate::cluster::{Hosts, IMAGE};
use crate::harness::Fetch;

/// The transfer that goes on meanwhile: 256 MiB at most this fast, so that it lasts.
const MIB: usize = 256;
const SPEED: &str = "50mbit";
/// Whoever is not in by then is not counted.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a storm of joins cost.
#[derive(Clone, Debug, Serialize)]
pub struct JoinRow {
    /// Agents that wanted to join at once.
    pub agents: u32,
    /// Those that are members and have heard from the tracker.
    pub joined: u32,
    /// Seconds until the last of them was.
    pub t_last_s: f64,
    /// Joins that were answered `busy`, or not at all, and tried again.
    pub again: u32,
    /// What the head's process grew by, KiB for each agent, all of them connected.
    pub head_kib: f64,
    /// What the kernel's memory grew by, KiB for each end of a connection.
    pub kernel_kib: f64,
    /// The longest time in which no byte of the transfer beside arrived, in seconds.
    pub longest_stall_s: f64,
}

/// Lets so many agents join one head.
pub fn joins(agents: u32) -> Result<JoinRow> {
    raise_limit()?;
    let hosts = Hosts::prepare_sized("joins", 2, None, MIB)?;
    let subject = TicketFor::Anonymous { image: IMAGE.parse()?, count: agents };
    let ticket: Ticket = hosts.head.ticket(subject)?.parse()?;
    let (port, ip) = (hosts.port(0)?, IpAddr::from(hosts.port(0)?.address()));
    let beside = ["--download".as_ref(), SPEED.as_ref()];
    let fetch = Fetch::start_with(&hosts.lab, hosts.port(1)?, &hosts.ticket(1)?, Duration::ZERO, &beside)?;
    hosts.head.wait_for(PATIENCE, |nodes| nodes.iter().any(|node| node.held > 4))?;
    let (head, system) = (hosts.head.memory()?, kernel()?);
    let over = AtomicBool::new(false);
    let (storm, stall) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| longest_stall(hosts.port(1)?, &over));
        let storm = port.namespace.enter(|| -> Result<_> {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let (members, again, t_last_s) = runtime.block_on(all(agents, &ticket, ip))?;
            over.store(true, Ordering::Relaxed);
            let used = (hosts.head.memory()?, kernel()?);
            let joined = u32::try_from(members.len())?;
            // Connected until here.
            drop(members);
            Ok((joined, again, t_last_s, used))
        });
        over.store(true, Ordering::Relaxed);
        (storm, watch.join())
    });
    let (joined, again, t_last_s, (head_now, system_now)) = storm??;
    let (longest_stall_s, bytes) = stall.map_err(|_| anyhow::anyhow!("the watch panicked"))??;
    anyhow::ensure!(bytes > 0 && fetch.process.status().is_none(), "the transfer beside was over too early");
    let each = |bytes: u64| bytes as f64 / 1024.0 / f64::from(joined.max(1));
    let row = JoinRow {
        agents,
        joined,
        t_last_s,
        again,
        head_kib: each(head_now.saturating_sub(head)),
        kernel_kib: each(system_now.saturating_sub(system)) / 2.0,
        longest_stall_s,
    };
    drop(fetch);
    hosts.succeeded();
    Ok(row)
}

/// A connection for each agent, at both ends, is more than shells allow.
fn raise_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: Some(65_536), maximum: Some(maximum.unwrap_or(65_536).max(65_536)) };
    setrlimit(Resource::Nofile, wanted).context("failed to raise the limit of open files")
}

async fn all(agents: u32, ticket: &Ticket, ip: IpAddr) -> Result<(Vec<Joined>, u32, f64)> {
    let (ticket, begun, mut tasks) = (Arc::new(ticket.clone()), Instant::now(), JoinSet::new());
    for number in 0..agents {
        let ticket = Arc::clone(&ticket);
        tasks.spawn(tokio::time::timeout(PATIENCE, async move { one(number, &ticket, ip).await }));
    }
    let (mut members, mut again, mut last) = (vec![], 0, begun);
    while let Some(done) = tasks.join_next().await {
        match done? {
            Ok(Ok((member, tries))) => {
                members.push(member);
                again += tries;
                last = Instant::now();
            }
            Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "an agent is not in"),
            Err(_) => tracing::warn!("an agent is not in: it took too long"),
        }
    }
    Ok((members, again, (last - begun).as_secs_f64()))
}

/// Joins and announces itself, as an agent does; says how often it had to try again.
pub(super) async fn one(number: u32, ticket: &Ticket, ip: IpAddr) -> Result<(Joined, u32)> {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    let key = SecretKey::from_seed(seed);
    let mut boot = BootId([7; 16]);
    boot.0[..4].copy_from_slice(&number.to_le_bytes());
    let data = DataAddrs { port: 20_000 + u16::try_from(number)?, ips: vec![ip] };
    let order = JoinOrder {
        heads: &ticket.heads,
        cluster: &ticket.cluster,
        key: &key,
        token: &ticket.token,
        purpose: JoinPurpose::Fetch { image: None },
        boot,
        data: data.clone(),
        clock_offset_ms: 0,
    };
    let (mut again, mut pause) = (0, Duration::from_millis(500));
    let member = loop {
        match join(&order).await {
            Ok(member) => break member,
            Err(JoinError::Ask(AskError::Unreachable(_))) => {}
            Err(JoinError::Ask(AskError::Refused(refusal))) if refusal.reason == RefusalReason::Busy => {}
            Err(error) => return Err(error.into()),
        }
        again += 1;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(8));
    };
    let images = vec![TrackImage { image: member.answer.image.id(), held: 0, total: 1 }];
    let track = TrackRequest { data, images, want: 0, have: vec![], leaving: false };
    loop {
        match member.client.request(ControlRequest::Track(track.clone())).await {
            Ok(ControlResponse::Peers(_)) => return Ok((member, again)),
            Ok(ControlResponse::Refused(refusal)) if refusal.reason != RefusalReason::Busy => {
                anyhow::bail!("the tracker refuses: {}", refusal.text)
            }
            Ok(_) | Err(_) => again += 1,
        }
        tokio::time::sleep(pause).await;
    }
}

/// The figures for people.
pub fn join_table(rows: &[JoinRow]) -> String {
    let mut text = "agents  joined  last s  again  head KiB each  kernel KiB each end  longest stall s\n".to_owned();
    for row in rows {
        text += &format!(
            "{:>6}  {:>6}  {:>6.1}  {:>5}  {:>13.1}  {:>19.1}  {:>15.2}\n",
            row.agents, row.joined, row.t_last_s, row.again, row.head_kib, row.kernel_kib, row.longest_stall_s
        );
    }
    text
}
