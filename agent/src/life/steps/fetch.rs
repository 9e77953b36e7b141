//! The image: into a tmpfs of its own, verified unit by unit, until all of it is there.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use wulfpack_shared::image::{Header, Run, SignedHeader, Units};
use wulfpack_shared::net::store::FetchStore;
use wulfpack_shared::wire::NodeSettings;

use super::join::Membered;
use crate::life::context::{Context, StepError};
use crate::member::{Member, MemberEvent};
use crate::paths;
use crate::report::uptime_ms;
use crate::root::{BlobDir, MemoryPlan, RESERVE, blob_bytes, check_memory, memory};

pub(super) async fn fetch(context: &Arc<Context>) -> Result<(), StepError> {
    let (member, signed, header, settings) = {
        let left = context.left();
        let membered = left.membered.as_ref().context("the node has not joined")?;
        (membered.member.clone(), membered.signed.clone(), membered.header.clone(), membered.settings.clone())
    };
    let units = Units::of(&header);
    if !member.swarm.images().contains(&member.image) {
        let (store, held) = tokio::task::spawn_blocking(move || store(&signed, &header, &settings))
            .await
            .map_err(StepError::again)??;
        if !held.is_empty() {
            let count: u32 = held.iter().map(|run| run.count).sum();
            context.say(format!("{count} of {} units are here from before and were verified again", units.total()));
        }
        let store = Arc::new(store);
        membered(context, |membered| membered.store = Some(Arc::clone(&store)))?;
        member.swarm.add_image(member.image, store, held).await.map_err(StepError::again)?;
    }
    // The events are put back whatever happens: the step may run again.
    let mut events = membered(context, |membered| membered.events.take())?.context("two fetches at a time")?;
    let complete = until_complete(context, &member, units.total(), &mut events).await;
    membered(context, |membered| membered.events = Some(events))?;
    complete?;
    let summary = member.swarm.summary(&member.image);
    context.say(format!(
        "image complete: {} from peers, {} from the head",
        mib(summary.from_peers),
        mib(summary.from_heads)
    ));
    Ok(())
}

fn membered<T>(context: &Context, work: impl FnOnce(&mut Membered) -> T) -> anyhow::Result<T> {
    context.left().membered.as_mut().map(work).context("the node has not joined")
}

async fn until_complete(
    context: &Context,
    member: &Member,
    total: u32,
    events: &mut mpsc::Receiver<MemberEvent>,
) -> Result<(), StepError> {
    while member.swarm.summary(&member.image).held != total {
        match events.recv().await {
            Some(MemberEvent::Complete) => break,
            Some(MemberEvent::Starved { missing }) => {
                context.say(format!("nobody reachable holds {missing} of {total} units; waiting for a head or a peer"));
            }
            Some(MemberEvent::StoreFull(reason) | MemberEvent::StoreFailed(reason)) => {
                return Err(StepError::again(reason));
            }
            Some(MemberEvent::SelfSuspect) => {
                context
                    .say("several peers' bytes arrived corrupt: this machine's memory or network card is the suspect");
            }
            Some(MemberEvent::Renewed) => {}
            Some(MemberEvent::Expelled(reason)) => context.say(format!("the head refuses this member: {reason}")),
            None => return Err(StepError::again("the data plane ended")),
        }
    }
    Ok(())
}

/// What image and root may take of this node's memory.
pub(super) fn memory_plan(header: &Header, settings: &NodeSettings) -> anyhow::Result<MemoryPlan> {
    let total = memory()?.total;
    Ok(check_memory(total, header.blob.len, header.unpacked_len, settings.root, settings.root_percent, RESERVE)?)
}

/// The store in its tmpfs: what an earlier worker of this boot left is verified again and kept.
fn store(signed: &SignedHeader, header: &Header, settings: &NodeSettings) -> anyhow::Result<(FetchStore, Vec<Run>)> {
    memory_plan(header, settings)?;
    let units = Units::of(header);
    let dir = Path::new(paths::IMAGE);
    if let Some(left) = BlobDir::left(dir)? {
        match FetchStore::reopen(dir, signed, header.clone()) {
            Ok(found) => return Ok(found),
            // Another version, or a half-made one: begin anew.
            Err(error) => tracing::info!(%error, "the store of an earlier try is not used"),
        }
        left.unmount()?;
    }
    BlobDir::mount(dir, blob_bytes(units.blob_len, units.table_len))?;
    Ok((FetchStore::create(dir, signed, header.clone())?, vec![]))
}

/// How far the fetch is, for the progress line; `None` before it began.
pub(in crate::life) fn fetch_progress(context: &Context) -> Option<String> {
    let left = context.left();
    let membered = left.membered.as_ref()?;
    let summary = membered.member.swarm.summary(&membered.member.image);
    if summary.total == 0 {
        return None;
    }
    let bytes = summary.from_heads + summary.from_peers;
    let millis = uptime_ms().saturating_sub(membered.joined_ms).max(1);
    let percent = u64::from(summary.held) * 100 / u64::from(summary.total);
    Some(format!(
        "{percent}% of {}, {}/s, {} from peers, {} peers",
        mib(membered.header.blob.len),
        mib(bytes * 1000 / millis),
        mib(summary.from_peers),
        summary.peers
    ))
}

/// Bytes for a person.
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
