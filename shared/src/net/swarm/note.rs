//! What tasks tell the driver.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::board::Image;
use super::link::Fresh;
use crate::id::{PublicKey, VersionId};
use crate::image::Run;
use crate::net::store::{StoreError, UnitStore};
use crate::swarm::{End, ImageIx, PeerIx, ReqId, ServeId, Stats};
use crate::wire::{ChunkAsk, PeerFrame, PeerInfo};

/// Names one connection among all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub u64);

/// Why a store did not do what it was asked, for a person; the kinds that lead to different things are told apart.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No space.
    Full(String),
    /// A stored unit is not what it was.
    Rotten(String),
    /// Anything else.
    Failed(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Full { .. } => Self::Full(text),
            StoreError::Rotten { .. } => Self::Rotten(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<tokio::task::JoinError> for Trouble {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a table has brought.
#[derive(Debug)]
pub(super) struct Tabled {
    /// The lengths of the chunks.
    pub lens: Arc<[u32]>,
    /// Units that were taken over from what this member had before.
    pub held: Vec<Run>,
}

/// Something happened.
#[derive(Debug)]
pub(super) enum Note {
    /// A connection stands and both ends have said hello.
    Up(Box<Fresh>),
    /// No address of the peer led to it.
    DialFailed { peer: PeerIx, why: String },
    /// A connection ended.
    Down { peer: PeerIx, link: LinkId, why: String },
    /// A message arrived.
    Frame { peer: PeerIx, link: LinkId, frame: PeerFrame },
    /// A peer asks for units and waits for the answer.
    Asked { peer: PeerIx, link: LinkId, serve: ServeId, ask: ChunkAsk, answer: oneshot::Sender<Answer> },
    /// It no longer waits.
    Unasked { serve: ServeId },
    /// Serving ended; `broken` is a unit that could not be read, and why.
    Served { serve: ServeId, image: ImageIx, bytes: u64, complete: bool, broken: Option<(u32, Trouble)> },
    /// The head named the run of a request.
    Assigned { req: ReqId, run: Run },
    /// Bytes flow.
    Progress { req: ReqId },
    /// A unit is verified and stored.
    Verified { req: ReqId, unit: u32 },
    /// A unit is not what it should be.
    Corrupt { req: ReqId, unit: u32 },
    /// A request is over; `lost` bytes arrived for nothing.
    Ended { req: ReqId, end: End, lost: u64, failure: Option<Trouble> },
    /// All pages were read.
    Table { image: ImageIx, lens: Result<Tabled, Trouble> },
    /// A stored unit was hashed again.
    Rechecked { image: ImageIx, unit: u32, good: bool },
    /// A complete store was sealed.
    Sealed { image: ImageIx, result: Result<(), Trouble> },
}

/// The answer to a peer's request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Send these, until told to stop.
    Serve { image: Arc<Image>, run: Run, stop: oneshot::Receiver<()> },
    /// No free slot.
    Busy,
    /// Not held, or not for this peer.
    Refused,
}

/// What the process wants.
#[derive(Debug)]
pub(super) enum Command {
    /// Take part in an image.
    Image { version: VersionId, store: Arc<dyn UnitStore>, held: Vec<Run>, added: oneshot::Sender<bool> },
    /// The tracker named these.
    Peers(Vec<PeerInfo>),
    /// The tracker said how large our rack is, and how many flows from other racks it may have.
    Rack { size: u32, cap: u32 },
    /// The tracker revoked these.
    Revoke(Vec<PublicKey>),
    /// Stop serving, or start again.
    Draining(bool),
    /// Leave the swarm for a while, or come back.
    Paused(bool),
    /// Say so when nothing is being served.
    WhenIdle(oneshot::Sender<()>),
    /// Say goodbye to everybody.
    Bye,
    /// What the engine has counted.
    Stats(oneshot::Sender<Stats>),
    /// Who is connected.
    Connected(oneshot::Sender<Vec<(PublicKey, SocketAddr)>>),
    /// End.
    Stop,
}
