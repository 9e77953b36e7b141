//! Clock, token, membership; then the data plane starts. After this step the boot needs no head.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use wulfpack_shared::id::NodeName;
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::image::{Header, SignedHeader};
use wulfpack_shared::net::store::FetchStore;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{DataAddrs, JoinPurpose, NodeSettings, ReportKind};

use crate::clock;
use crate::life::context::{Context, StepError};
use crate::member::{
    Conduct, JoinOrder, Joined, Live, Member, MemberEvent, Upkeep, join as become_member, start_swarm,
};
use crate::overlay::unpack;
use crate::paths;
use crate::report::uptime_ms;

/// A membership with a running data plane.
#[derive(Debug)]
pub struct Membered {
    /// The member.
    pub member: Member,
    /// Its conversation with the heads.
    pub upkeep: Upkeep,
    /// What the upkeep tells; taken while a step listens.
    pub events: Option<mpsc::Receiver<MemberEvent>>,
    /// How to become the node.
    pub settings: NodeSettings,
    /// Where the image's units lie, once the fetch has begun.
    pub store: Option<Arc<FetchStore>>,
    /// The image, signed.
    pub signed: SignedHeader,
    /// The image, read.
    pub header: Header,
    /// Seconds since the kernel started when the fetch began, for the rate.
    pub joined_ms: u64,
}

pub(super) async fn join(context: &Arc<Context>) -> Result<(), StepError> {
    // Once: tried again later, the head's word would be old and turn the clock back.
    let known = context.left().clock_offset_ms;
    let offset = match (known, context.args().time) {
        (Some(offset), _) => offset,
        (None, Some(time)) => step_clock(context, time)?,
        (None, None) => 0,
    };
    context.left().clock_offset_ms = Some(offset);
    let token = std::fs::read(paths::TOKEN).with_context(|| {
        format!(
            "no join token in {}: the head gave this boot none (`wulf node log` on the head says why)",
            paths::TOKEN
        )
    })?;
    // A membership from before a restart of this worker, or from an earlier try, has its socket open: close it first.
    if let Some(left) = context.left().membered.take() {
        context.state().counted = left.member.summary();
    }
    let key = own_key(context).await?;
    let (boot, port) = {
        let state = context.state();
        (state.boot, state.data.port)
    };
    let (ip, mtu) = {
        let left = context.left();
        let linked = left.linked.as_ref().context("the network is not up")?;
        (linked.address.ip, u16::try_from(linked.interface.mtu).ok())
    };
    let heads: Vec<String> = context.args().heads.iter().map(|head| head.control.to_string()).collect();
    context.doing(format!("asking {}", heads.join(", ")));
    let data = DataAddrs { port, ips: vec![ip] };
    let order = JoinOrder {
        heads: &context.args().heads,
        cluster: &context.args().cluster,
        key: &key,
        token: &token,
        purpose: JoinPurpose::Boot,
        boot,
        data: data.clone(),
        clock_offset_ms: offset,
    };
    let joined =
        become_member(&order).await.map_err(|error| StepError { reason: error.to_string(), hold: error.holds() })?;
    step_clock(context, joined.time)?;
    enter_swarm(context, joined, data, mtu).await
}

/// The key of this boot. Made here and not earlier: the modules are loaded by now, and with them the hardware's own random
/// numbers. A machine that has none waits until its kernel has gathered enough, and says so.
pub(super) async fn own_key(context: &Context) -> Result<SecretKey, StepError> {
    if let Some(key) = context.state().key() {
        return Ok(key);
    }
    context.doing("waiting for the kernel's random numbers: this machine has no quick source of them");
    let key = tokio::task::spawn_blocking(SecretKey::generate).await.map_err(StepError::again)?;
    let key = key.map_err(|error| StepError::again(format!("the kernel gives no random numbers: {error}")))?;
    context.state().set_key(&key);
    context.save();
    Ok(key)
}

/// Starts the data plane as the member that the head admitted.
async fn enter_swarm(
    context: &Arc<Context>,
    joined: Joined,
    data: DataAddrs,
    mtu: Option<u16>,
) -> Result<(), StepError> {
    let (settings, name) = settings(&joined)?;
    let conduct = Conduct { seed: settings.seed, manners: settings.manners };
    clock::mix_entropy(&settings.entropy).map_err(StepError::again)?;
    let (swarm, swarm_events) = start_swarm(&joined.identity, &data, mtu, &joined.header, conduct)?;
    swarm.add_peers(joined.answer.peers.clone()).await.map_err(StepError::again)?;
    let member = Member {
        client: Arc::clone(&joined.client),
        swarm,
        identity: joined.identity.clone(),
        trust: joined.identity.trust().clone(),
        image: joined.answer.image.id(),
        reporter: context.reporter.clone(),
        data,
        live: Arc::new(Mutex::new(Live {
            certificate: joined.answer.certificate.clone(),
            peers: joined.answer.peers.clone(),
        })),
        counted: context.state().counted,
    };
    {
        let mut state = context.state();
        state.cluster = joined.identity.trust().cluster();
        state.certificate = Some(joined.answer.certificate.clone());
        state.image = Some(joined.answer.image.clone());
        state.seed = settings.seed;
        state.manners = settings.manners;
        state.data = member.data.clone();
        state.cluster_time = Some((joined.time, uptime_ms()));
        state.peers = joined.answer.peers.clone();
    }
    context.save();
    let (upkeep, events) = Upkeep::start(member.clone(), swarm_events, joined.answer.track_after_s);
    context.say(format!("joined as {name}, image {} {:.12}", joined.header.name, joined.answer.image.id()));
    let Joined { answer, header, .. } = joined;
    let membered = Membered {
        member,
        upkeep,
        events: Some(events),
        settings,
        store: None,
        signed: answer.image,
        header,
        joined_ms: uptime_ms(),
    };
    context.left().membered = Some(membered);
    Ok(())
}

/// Steps the clock to the head's time if it is far off; says by how much it was off, in milliseconds.
fn step_clock(context: &Context, time: UnixTime) -> Result<i64, StepError> {
    let step = clock::step_if_off(time, clock::CLOCK_MAX_OFF)
        .map_err(|error| StepError::again(format!("failed to set the clock: {error}")))?;
    if step.stepped {
        context.tell(ReportKind::ClockStepped { offset_ms: step.offset_ms });
        context.say(format!("the clock was {} s off and is set to the head's time", step.offset_ms / 1000));
    }
    Ok(step.offset_ms)
}

fn settings(joined: &Joined) -> Result<(NodeSettings, NodeName), StepError> {
    let settings = joined.answer.node.as_deref().cloned();
    let mut settings = settings.context("the head admitted this machine without telling it which node it is")?;
    unpack(&mut settings.overlays).map_err(StepError::again)?;
    let name = settings.name.clone();
    Ok((settings, name))
}

/// Waits until the head has every report.
pub(in crate::life) async fn flush_reports(context: &Context) {
    while !context.reporter.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The token is not needed any more, and must not lie where the running system can read it.
pub(super) fn forget_token() {
    // It went with the initramfs if it is not there.
    let _gone = std::fs::remove_file(Path::new(paths::TOKEN));
}
