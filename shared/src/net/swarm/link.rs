//! One connection: hello, messages both ways, requests coming in.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::frame;
use super::note::{Answer, LinkId, Note};
use super::serve::{self, Serving};
use super::throttle::Throttle;
use crate::id::{PublicKey, VersionId};
use crate::identity::Membership;
use crate::limits::PEER_FRAME_MAX;
use crate::net::tls::Identity;
use crate::swarm::{PeerIx, ServeId};
use crate::wire::{self, ChunkAsk, PeerFrame, Want};

/// Whoever does not say hello, or does not finish an ask, in this time is not worth a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// A last message is given this long to arrive.
const FAREWELL: Duration = Duration::from_millis(500);
/// Messages that wait to be sent. A peer that lets so many pile up does not read.
const OUTBOX: usize = 256;
/// Longest encoded [`ChunkAsk`] or [`wire::ChunkReply`]. Bytes.
pub(super) const ASK_MAX: usize = 64;

/// Why a connection is closed, as QUIC carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum CloseCode {
    Bye = 0,
    Protocol = 1,
    Full = 2,
    Revoked = 3,
    Duplicate = 4,
    Slow = 5,
}

impl CloseCode {
    const fn reason(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::Protocol => "you broke the protocol",
            Self::Full => "too many neighbours",
            Self::Revoked => "your membership was revoked",
            Self::Duplicate => "the other connection with you stays",
            Self::Slow => "you do not read",
        }
    }
}

/// A connection whose handshake is over and whose ends have said hello.
#[derive(Debug)]
pub(super) struct Fresh {
    pub connection: Connection,
    pub key: PublicKey,
    pub membership: Membership,
    pub dialled: bool,
    send: SendStream,
    recv: RecvStream,
}

impl Fresh {
    pub(super) fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }
}

/// Says and hears hello. The dialler learns here that the far end accepted its certificate.
pub(super) async fn greet(
    connection: Connection,
    identity: &Identity,
    images: Vec<VersionId>,
    dialled: bool,
) -> Result<Fresh, String> {
    let (key, membership) = identity.peer(&connection).map_err(|error| error.to_string())?;
    let hello = PeerFrame::Hello { version: wire::VERSION, images };
    let talk = async {
        let (mut send, mut recv) = if dialled {
            connection.open_bi().await.map_err(|error| error.to_string())?
        } else {
            connection.accept_bi().await.map_err(|error| error.to_string())?
        };
        frame::write(&mut send, &hello).await.map_err(|error| gone(&connection, &error))?;
        let heard = frame::read::<PeerFrame, PEER_FRAME_MAX>(&mut recv).await;
        match heard.map_err(|error| gone(&connection, &error))? {
            Some(PeerFrame::Hello { version: wire::VERSION, .. }) => Ok((send, recv)),
            Some(PeerFrame::Hello { version, .. }) => {
                Err(format!("it speaks version {version} of the protocol, this program {}", wire::VERSION))
            }
            _ => Err("it did not say hello".to_owned()),
        }
    };
    match timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err("it did not say hello in time".to_owned())) {
        Ok((send, recv)) => Ok(Fresh { connection, key, membership, dialled, send, recv }),
        Err(why) => {
            connection.close(code(CloseCode::Protocol), why.as_bytes());
            Err(why)
        }
    }
}

/// Why the connection ended, if it did: that says more than the error of one of its streams.
fn gone(connection: &Connection, error: &impl ToString) -> String {
    connection.close_reason().map_or_else(|| error.to_string(), |reason| reason.to_string())
}

const fn code(code: CloseCode) -> VarInt {
    VarInt::from_u32(code as u32)
}

enum Outgoing {
    Frame(PeerFrame),
    Close(CloseCode, Option<PeerFrame>),
}

/// What the tasks of a connection share.
#[derive(Clone, Debug)]
pub(super) struct Ties {
    pub peer: PeerIx,
    pub link: LinkId,
    pub notes: mpsc::Sender<Note>,
    /// KiB of units in memory that are being sent.
    pub budget: Arc<Semaphore>,
    /// What may be sent.
    pub up: Arc<Throttle>,
    /// The next [`ServeId`].
    pub serves: Arc<AtomicU64>,
}

/// The driver's end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    pub id: LinkId,
    pub dialled: bool,
    pub connection: Connection,
    outbox: mpsc::Sender<Outgoing>,
    sent: AtomicU32,
}

impl Link {
    /// Starts the tasks of a connection.
    pub(super) fn start(fresh: Fresh, ties: Ties) -> Self {
        let Fresh { connection, dialled, send, recv, .. } = fresh;
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let (peer, id) = (ties.peer, ties.link);
        drop(tokio::spawn(write_frames(connection.clone(), send, queue)));
        let (heard, hears) = watch::channel(0);
        drop(tokio::spawn(read_frames(connection.clone(), recv, ties.clone(), heard)));
        let (watched, told) = (connection.clone(), ties.notes.clone());
        drop(tokio::spawn(take_asks(connection.clone(), ties, hears)));
        drop(tokio::spawn(async move {
            let why = watched.closed().await.to_string();
            // Nobody listens any more once the driver has ended.
            drop(told.send(Note::Down { peer, link: id, why }).await);
        }));
        Self { id, dialled, connection, outbox, sent: AtomicU32::new(0) }
    }

    /// Messages that were queued until now.
    pub(super) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Queues a message; a peer that does not read is cut off.
    pub(super) fn send(&self, frame: PeerFrame) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if self.outbox.try_send(Outgoing::Frame(frame)).is_err() {
            self.connection.close(code(CloseCode::Slow), CloseCode::Slow.reason().as_bytes());
        }
    }

    /// Closes the connection, after a last message if one is given.
    pub(super) fn close(&self, why: CloseCode, last: Option<PeerFrame>) {
        if self.outbox.try_send(Outgoing::Close(why, last)).is_err() {
            self.connection.close(code(why), why.reason().as_bytes());
        }
    }
}

async fn write_frames(connection: Connection, mut send: SendStream, mut queue: mpsc::Receiver<Outgoing>) {
    let mut bytes = Vec::new();
    while let Some(outgoing) = queue.recv().await {
        // What is said at the same time goes out in one piece: a packet costs more than what is in it.
        let mut next = Some(outgoing);
        bytes.clear();
        while let Some(Outgoing::Frame(frame)) = &next {
            frame::put(&mut bytes, frame);
            next = queue.try_recv().ok();
        }
        if !bytes.is_empty() && send.write_all(&bytes).await.is_err() {
            return;
        }
        match next {
            None | Some(Outgoing::Frame(_)) => {}
            Some(Outgoing::Close(why, last)) => {
                let farewell = async {
                    if let Some(frame) = last {
                        frame::write(&mut send, &frame).await.ok()?;
                    }
                    send.finish().ok()?;
                    send.stopped().await.ok()
                };
                drop(timeout(FAREWELL, farewell).await);
                return connection.close(code(why), why.reason().as_bytes());
            }
        }
    }
}

async fn read_frames(
    connection: Connection,
    mut recv: RecvStream,
    Ties { peer, link, notes, .. }: Ties,
    heard: watch::Sender<u32>,
) {
    loop {
        match frame::read::<PeerFrame, PEER_FRAME_MAX>(&mut recv).await {
            Ok(Some(frame)) => {
                if notes.send(Note::Frame { peer, link, frame }).await.is_err() {
                    return;
                }
                heard.send_modify(|heard| *heard = heard.wrapping_add(1));
            }
            Ok(None) => return,
            Err(error) => {
                if error.is_protocol() {
                    tracing::warn!(from = %connection.remote_address(), %error, "a peer breaks the protocol");
                    connection.close(code(CloseCode::Protocol), error.to_string().as_bytes());
                }
                return;
            }
        }
    }
}

/// Takes requests; how many at a time, quinn's limit of streams says.
async fn take_asks(connection: Connection, ties: Ties, heard: watch::Receiver<u32>) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        let (connection, ties, heard) = (connection.clone(), ties.clone(), heard.clone());
        drop(tokio::spawn(async move { answer(&connection, send, recv, ties, heard).await }));
    }
}

async fn answer(
    connection: &Connection,
    send: SendStream,
    mut recv: RecvStream,
    ties: Ties,
    mut heard: watch::Receiver<u32>,
) {
    let ask: ChunkAsk = match timeout(PATIENCE, frame::read::<ChunkAsk, ASK_MAX>(&mut recv)).await {
        Ok(Ok(Some(ask))) => ask,
        Ok(Err(error)) if error.is_protocol() => {
            tracing::warn!(from = %connection.remote_address(), %error, "a peer breaks the protocol");
            return connection.close(code(CloseCode::Protocol), error.to_string().as_bytes());
        }
        // Cancelled before it was complete, or never finished.
        _ => return,
    };
    // Whatever follows an ask is not read, and must not fill our buffers.
    drop(recv.stop(VarInt::from_u32(0)));
    if let Want::Rarest { after, .. } = ask.want {
        let caught_up = timeout(PATIENCE, heard.wait_for(|heard| *heard >= after)).await;
        if !matches!(caught_up, Ok(Ok(_))) {
            return;
        }
    }
    let Ties { peer, link, notes, budget, up, serves } = ties;
    let serve = ServeId(serves.fetch_add(1, Ordering::Relaxed));
    let (sender, decided) = oneshot::channel();
    if notes.send(Note::Asked { peer, link, serve, ask, answer: sender }).await.is_err() {
        return;
    }
    let stopped = send.stopped();
    let decided = tokio::select! {
        decided = decided => decided,
        // The asker gave up while it waited, or its connection broke.
        _ = stopped => return drop(notes.send(Note::Unasked { serve }).await),
    };
    match decided {
        Ok(Answer::Serve { image, run, stop }) => {
            let what = Serving { serve, image, run, stop };
            serve::run(send, what, notes, (budget, up)).await;
        }
        Ok(Answer::Busy) => serve::refuse(send, wire::ChunkReply::Busy).await,
        Ok(Answer::Refused) => serve::refuse(send, wire::ChunkReply::Refused).await,
        Err(_) => {}
    }
}
