//! One request of a peer.

use core::time::Duration;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use quinn::{SendStream, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::board::Image;
use super::frame;
use super::note::{Note, Trouble};
use super::throttle::Throttle;
use crate::image::Run;
use crate::net::store::StoreError;
use crate::swarm::ServeId;
use crate::wire::ChunkReply;

/// A peer that takes no byte of a unit for so long has gone to sleep, and its slot is wanted.
const STALLED: Duration = Duration::from_secs(30);
/// Stream error: we cannot go on.
const BROKEN: VarInt = VarInt::from_u32(1);

/// How serving ended.
#[derive(Default)]
struct Outcome {
    bytes: u64,
    complete: bool,
    broken: Option<(u32, Trouble)>,
}

/// Turns a request down.
pub(super) async fn refuse(mut send: SendStream, reply: ChunkReply) {
    if frame::write(&mut send, &reply).await.is_ok() {
        drop(send.finish());
    }
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Serving {
    pub serve: ServeId,
    pub image: Arc<Image>,
    pub run: Run,
    /// Ends, or says something, when nothing more is to be sent.
    pub stop: oneshot::Receiver<()>,
}

/// Serves a run and tells the driver how it went, exactly once.
pub(super) async fn run(
    mut send: SendStream,
    what: Serving,
    notes: mpsc::Sender<Note>,
    (budget, up): (Arc<Semaphore>, Arc<Throttle>),
) {
    let Serving { serve, image, run, stop } = what;
    let sending = AssertUnwindSafe(stream(&mut send, &image, run, (&budget, &up))).catch_unwind();
    let Outcome { bytes, complete, broken } = tokio::select! {
        sent = sending => sent.unwrap_or_default(),
        _ = stop => Outcome::default(),
    };
    if !complete {
        // Fails if the peer has stopped the stream itself.
        drop(send.reset(BROKEN));
    }
    drop(notes.send(Note::Served { serve, image: image.ix, bytes, complete, broken }).await);
}

async fn stream(
    send: &mut SendStream,
    image: &Arc<Image>,
    run: Run,
    (budget, up): (&Arc<Semaphore>, &Throttle),
) -> Outcome {
    let mut outcome = Outcome::default();
    if frame::write(send, &ChunkReply::Units(run)).await.is_err() {
        return outcome;
    }
    let mut next = Some(read(Arc::clone(image), run.first, budget).await);
    for unit in run.iter() {
        let (bytes, permit) = match next {
            Some(Ok(read)) => read,
            Some(Err(trouble)) => {
                outcome.broken = Some((unit, trouble));
                return outcome;
            }
            // Comes after the last one only.
            None => return outcome,
        };
        let len = bytes.len() as u64;
        let write = async {
            let written = write_in_turn(send, bytes, up).await;
            // Before the next unit is had: if all waited for that with this in hand, none would go on.
            drop(permit);
            written
        };
        // The next unit is read while this one is sent.
        let following =
            async { if unit + 1 < run.end() { Some(read(Arc::clone(image), unit + 1, budget).await) } else { None } };
        let (written, following) = tokio::join!(write, following);
        if written.is_none() {
            return outcome;
        }
        outcome.bytes += len;
        next = following;
    }
    if send.finish().is_err() {
        return outcome;
    }
    // The slot is free when the peer has the bytes, not when they lie in our buffers.
    outcome.complete = matches!(timeout(STALLED, send.stopped()).await, Ok(Ok(_)));
    outcome
}

/// Hands a unit to the network as fast as may be. None if the peer does not take it, or has gone.
async fn write_in_turn(send: &mut SendStream, mut bytes: Bytes, up: &Throttle) -> Option<()> {
    while !bytes.is_empty() {
        let turn = bytes.split_to(bytes.len().min(up.turn()));
        up.take(turn.len()).await;
        timeout(STALLED, send.write_chunk(turn)).await.ok()?.ok()?;
    }
    Some(())
}

/// Reads a unit off the reactor, within the budget.
async fn read(image: Arc<Image>, unit: u32, budget: &Arc<Semaphore>) -> Result<(Bytes, OwnedSemaphorePermit), Trouble> {
    let len = image.store.geometry().len(unit).ok_or(StoreError::NoUnit { unit })?;
    let permits = len.div_ceil(1024);
    let permit = Arc::clone(budget).acquire_many_owned(permits).await;
    let permit = permit.map_err(|error| Trouble::Failed(error.to_string()))?;
    let bytes = tokio::task::spawn_blocking(move || image.store.read(unit)).await??;
    Ok((bytes, permit))
}
