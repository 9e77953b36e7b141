//! The image: into a tmpfs of its own, verified unit by unit, until all of it is there.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use wulfpack_shared::image::{Header, Run, SignedHeader, Units};
use wulfpack_shared::net::store::{FetchStore, StoreError};
use wulfpack_shared::wire::{NodeSettings, ReportKind};

use super::join::Membered;
use crate::life::context::{Context, StepError};
use crate::member::{Member, MemberEvent};
use crate::paths;
use crate::report::{uptime_ms, used};
use crate::root::{BlobDir, Memory, MemoryPlan, RESERVE, blob_bytes, check_memory, memory};

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
    let used = used();
    let cpu_ms = u64::try_from(used.cpu.as_millis()).unwrap_or(u64::MAX);
    context.reporter.tell(ReportKind::Used { cpu_ms, memory_peak: used.memory_peak });
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
            Some(MemberEvent::StoreFull(reason)) => return Err(StepError::again(no_room(&reason, memory().ok()))),
            Some(MemberEvent::StoreFailed(reason)) => return Err(StepError::again(reason)),
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
    let (dir, units) = (Path::new(paths::IMAGE), Units::of(header));
    store_in(dir, blob_bytes(units.blob_len, units.table_len), signed, header)
}

fn store_in(dir: &Path, size: u64, signed: &SignedHeader, header: &Header) -> anyhow::Result<(FetchStore, Vec<Run>)> {
    if let Some(left) = BlobDir::left(dir)? {
        match FetchStore::reopen(dir, signed, header.clone()) {
            Ok(found) => return Ok(found),
            // Another version, or a half-made one: begin anew.
            Err(error) => tracing::info!(%error, "the store of an earlier try is not used"),
        }
        left.unmount()?;
    }
    let mounted = BlobDir::mount(dir, size)?;
    match FetchStore::create(dir, signed, header.clone()) {
        Ok(store) => Ok((store, vec![])),
        Err(error) => {
            // What it took of the node's memory is given back: the next try needs it.
            mounted.unmount()?;
            Err(match error {
                StoreError::Full { .. } => anyhow::anyhow!(no_room(&error.to_string(), memory().ok())),
                _ => error.into(),
            })
        }
    }
}

/// What is said of a store without space: the image lies in memory, so that it is memory that is missing.
fn no_room(reason: &str, memory: Option<Memory>) -> String {
    let left = memory.map_or_else(String::new, |memory| {
        format!(" ({} of {} are available)", mib(memory.available), mib(memory.total))
    });
    format!(
        "this node's memory is full{left}: {reason}. It goes on when there is room: a smaller image or more memory makes some"
    )
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

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{FallocateFlags, fallocate};
    use wulfpack_shared::id::Hash;
    use wulfpack_shared::identity::SecretKey;
    use wulfpack_shared::image::{ChunkTable, Compression, Part, TableBuilder, verify};
    use wulfpack_shared::net::store::{BLOB_FILE, UnitStore as _};

    use super::*;
    use crate::root::testing::in_mounts;

    const CHUNK: usize = 1 << 20;

    /// An image of two chunks.
    fn image() -> (SignedHeader, Header, Vec<u8>, Vec<u8>) {
        let blob: Vec<u8> = (0..2 * CHUNK).map(|at| (at / 3) as u8).collect();
        let mut table = TableBuilder::default();
        blob.chunks(CHUNK).for_each(|chunk| table.push(chunk));
        let (table, count, pages) = table.finish().unwrap();
        let name = "debian".parse().unwrap();
        let header = Header::new(name, Part::of(&blob), Compression::Gzip, 1, count, pages, vec![], "test".into());
        let signed = SignedHeader::sign(&header, &SecretKey::from_seed([1; 32])).unwrap();
        (signed, header, blob, table)
    }

    #[test]
    fn an_image_that_finds_no_room_says_so_and_gives_back_what_it_took() {
        in_mounts(|dir| {
            let ((signed, header, ..), place) = (image(), dir.join("private/image"));
            let error = store_in(&place, CHUNK as u64, &signed, &header).unwrap_err().to_string();
            assert!(error.contains("memory is full (") && error.contains("no space left for"), "{error}");
            assert!(BlobDir::left(&place).unwrap().is_none(), "still mounted");
            let size = blob_bytes(header.blob.len, 1 << 12);
            assert!(store_in(&place, size, &signed, &header).unwrap().1.is_empty());

            fs::write(dir.join("file"), "").unwrap();
            let error = store_in(&dir.join("file"), size, &signed, &header).unwrap_err().to_string();
            assert!(!error.contains("memory is full"), "{error}");
        });
    }

    #[test]
    fn a_tmpfs_that_fills_up_meanwhile_is_told_from_a_store_that_fails() {
        in_mounts(|dir| {
            let ((signed, header, blob, table), place) = (image(), dir.join("private/image"));
            let (store, _) = store_in(&place, blob_bytes(header.blob.len, 1 << 12), &signed, &header).unwrap();
            store.geometry().set_table(ChunkTable::parse(&header, &table).unwrap());
            let chunk = |at: usize| {
                let bytes = &blob[at * CHUNK..(at + 1) * CHUNK];
                verify(&Hash::of(bytes), bytes.to_vec().into()).unwrap()
            };
            store.write(1, &chunk(0)).unwrap();
            // The reserved space goes to somebody else.
            let file = fs::File::options().write(true).open(place.join(BLOB_FILE)).unwrap();
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&file, hole, CHUNK as u64, CHUNK as u64).unwrap();
            fs::write(place.join("other"), vec![1; 4 * CHUNK]).unwrap_err();
            let error = store.write(2, &chunk(1)).unwrap_err();
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            fs::remove_file(place.join("other")).unwrap();
            store.write(2, &chunk(1)).unwrap();
        });
    }
}
