//! One request of ours: ask, read, hash, store, tell.

use core::time::Duration;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use quinn::{Connection, RecvStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::board::Image;
use super::frame;
use super::link::ASK_MAX;
use super::note::{Note, Trouble};
use super::throttle::Throttle;
use crate::image::{Run, verify};
use crate::limits::{CHUNK_MAX, RUN_UNITS_MAX};
use crate::net::buffer::Buffer;
use crate::net::store::StoreError;
use crate::swarm::{Choice, End, ReqId};
use crate::wire::{ChunkAsk, ChunkReply, Want};

/// The engine is told so often that bytes flow, at most.
const PROGRESS: Duration = Duration::from_millis(10);

/// All that a request needs.
#[derive(Debug)]
pub(super) struct Fetch {
    pub req: ReqId,
    pub connection: Connection,
    pub image: Arc<Image>,
    pub choice: Choice,
    /// The peer is a head.
    pub from_head: bool,
    /// Messages that the peer was sent before this request.
    pub after: u32,
    pub notes: mpsc::Sender<Note>,
    pub budget: Arc<Semaphore>,
    /// What may be received.
    pub down: Arc<Throttle>,
}

/// Why a request ended before its last unit.
enum Stop {
    Busy,
    Refused,
    Gone,
    Corrupt,
    Store(Trouble),
    Protocol(String),
}

/// What became of a unit.
enum Settled {
    Verified,
    Corrupt,
    Failed(Trouble),
}

/// A unit that is being hashed and stored.
struct Pending {
    unit: u32,
    work: JoinHandle<Settled>,
}

/// What has to outlive a cancelled transfer.
#[derive(Default)]
struct Progressing {
    pending: Option<Pending>,
    /// Bytes of a unit that is not complete.
    partial: u64,
}

impl Fetch {
    /// Runs the request and tells the driver how it ended, exactly once, whatever happens.
    pub(super) async fn run(self, cancel: oneshot::Receiver<()>) {
        let mut state = Progressing::default();
        let transfer = AssertUnwindSafe(self.transfer(&mut state)).catch_unwind();
        let result = tokio::select! {
            result = transfer => Some(result.unwrap_or(Err(Stop::Gone))),
            // Dropping the transfer tells the peer to stop.
            _ = cancel => None,
        };
        // What arrived whole is kept, whatever became of the rest.
        let settled = match state.pending.take() {
            Some(pending) => self.settle(pending).await,
            None => Ok(()),
        };
        let (end, failure) = match (result, settled) {
            (_, Err(Stop::Store(why))) | (Some(Err(Stop::Store(why))), _) => (End::StoreFull, Some(why)),
            (None, _) => (End::Cancelled, None),
            (Some(Ok(()) | Err(Stop::Corrupt)), _) => (End::Done, None),
            (Some(Err(Stop::Busy)), _) => (End::Busy, None),
            (Some(Err(Stop::Refused)), _) => (End::Refused, None),
            (Some(Err(Stop::Gone)), _) => (End::PeerGone, None),
            (Some(Err(Stop::Protocol(why))), _) => {
                tracing::warn!(from = %self.connection.remote_address(), %why, "a peer breaks the protocol");
                self.connection.close(1u32.into(), why.as_bytes());
                (End::PeerGone, None)
            }
        };
        self.tell(Note::Ended { req: self.req, end, lost: state.partial, failure }).await;
    }

    async fn tell(&self, note: Note) {
        // Nobody listens any more once the driver has ended.
        drop(self.notes.send(note).await);
    }

    async fn transfer(&self, state: &mut Progressing) -> Result<(), Stop> {
        let (mut send, mut recv) = self.connection.open_bi().await.map_err(|_| Stop::Gone)?;
        let want = match self.choice {
            Choice::Run(run) => Want::Run(run),
            Choice::Rarest { max_bytes, starved } => Want::Rarest { max_bytes, starved, after: self.after },
        };
        frame::write(&mut send, &ChunkAsk { image: self.image.version, want }).await.map_err(|_| Stop::Gone)?;
        // The far end may have stopped reading: it has the ask.
        drop(send.finish());
        let run = match frame::read::<ChunkReply, ASK_MAX>(&mut recv).await {
            Ok(Some(ChunkReply::Units(run))) => run,
            Ok(Some(ChunkReply::Busy)) => return Err(Stop::Busy),
            Ok(Some(ChunkReply::Refused)) => return Err(Stop::Refused),
            Err(error) if error.is_protocol() => return Err(Stop::Protocol(error.to_string())),
            Ok(None) | Err(_) => return Err(Stop::Gone),
        };
        self.accept(run).await?;
        for unit in run.iter() {
            let (bytes, permit) = self.read_unit(&mut recv, unit, &mut state.partial).await?;
            // One unit is hashed while the next one arrives.
            if let Some(pending) = state.pending.take() {
                self.settle(pending).await?;
            }
            state.pending = Some(self.begin(unit, bytes, permit));
            state.partial = 0;
        }
        if let Some(pending) = state.pending.take() {
            self.settle(pending).await?;
        }
        // The end of the stream, so that the peer is not told to stop what it has finished.
        match recv.read(&mut [0]).await {
            Ok(Some(_)) => Err(Stop::Protocol("more bytes than the units of a run have".to_owned())),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Checks the run that the peer says it sends.
    async fn accept(&self, run: Run) -> Result<(), Stop> {
        let len = self.image.store.geometry().run_len(run);
        match (self.choice, len) {
            (Choice::Run(asked), Some(_)) if run == asked => Ok(()),
            (Choice::Rarest { max_bytes, .. }, Some(len))
                if run.count > 0
                    && run.count <= RUN_UNITS_MAX
                    && (len <= u64::from(max_bytes.max(CHUNK_MAX)) || run.count == 1) =>
            {
                self.tell(Note::Assigned { req: self.req, run }).await;
                Ok(())
            }
            _ => Err(Stop::Protocol(format!("units {} to {} were not asked for", run.first, run.end()))),
        }
    }

    async fn read_unit(
        &self,
        recv: &mut RecvStream,
        unit: u32,
        partial: &mut u64,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Stop> {
        let unknown = || Stop::Protocol(format!("unit {unit} is not known"));
        let len = self.image.store.geometry().len(unit).ok_or_else(unknown)?;
        let permit = Arc::clone(&self.budget).acquire_many_owned(len.div_ceil(1024)).await;
        let permit = permit.map_err(|_| Stop::Gone)?;
        let mut buffer = Buffer::of(len as usize);
        let mut rest = &mut *buffer;
        let mut told = Instant::now();
        while !rest.is_empty() {
            let turn = rest.len().min(self.down.turn());
            match recv.read(&mut rest[..turn]).await {
                Ok(Some(read)) => {
                    *partial += read as u64;
                    rest = rest.split_at_mut(read).1;
                    self.down.take(read).await;
                }
                Ok(None) | Err(_) => return Err(Stop::Gone),
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                // Not worth waiting for: the next one says the same.
                drop(self.notes.try_send(Note::Progress { req: self.req }));
            }
        }
        Ok((buffer.freeze(), permit))
    }

    /// Starts to hash and store a unit, off the reactor.
    fn begin(&self, unit: u32, bytes: Bytes, permit: OwnedSemaphorePermit) -> Pending {
        let image = Arc::clone(&self.image);
        let from_head = self.from_head;
        let work = tokio::task::spawn_blocking(move || {
            let settled = store(&image, unit, bytes, from_head);
            drop(permit);
            settled
        });
        Pending { unit, work }
    }

    /// Waits until a unit is stored, and tells the driver.
    async fn settle(&self, Pending { unit, work }: Pending) -> Result<(), Stop> {
        let req = self.req;
        match work.await {
            Ok(Settled::Verified) => self.tell(Note::Verified { req, unit }).await,
            Ok(Settled::Corrupt) => {
                self.tell(Note::Corrupt { req, unit }).await;
                return Err(Stop::Corrupt);
            }
            Ok(Settled::Failed(why)) => return Err(Stop::Store(why)),
            Err(error) => return Err(Stop::Store(error.into())),
        }
        Ok(())
    }
}

/// Hashes a unit, stores it unless it is there already, and counts it.
fn store(image: &Image, unit: u32, bytes: Bytes, from_head: bool) -> Settled {
    let Some(expected) = image.store.geometry().hash(unit) else {
        return Settled::Failed(StoreError::NoUnit { unit }.into());
    };
    let len = bytes.len() as u64;
    // Hashed again if it is wrong: our own memory may have slipped once.
    let Ok(verified) = verify(&expected, bytes.clone()).or_else(|_| verify(&expected, bytes)) else {
        image.count(|counts| {
            counts.corrupt += 1;
            counts.wasted += len;
        });
        return Settled::Corrupt;
    };
    if !image.holds(unit)
        && let Err(error) = image.store.write(unit, &verified)
    {
        // It may have come by another way, and the store been sealed, while we hashed.
        if !matches!(error, StoreError::Sealed { .. }) || !image.holds(unit) {
            return Settled::Failed(error.into());
        }
    }
    image.fetched(unit, len, from_head);
    Settled::Verified
}
