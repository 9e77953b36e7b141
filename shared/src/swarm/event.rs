//! The engine's inputs and outputs: `handle_input(now, input)`, `poll_output()` until `None`, `Input::Tick` at `poll_timeout()`.

use std::sync::Arc;

use crate::image::{Run, Units};

/// A peer, by the dense index that the shell gave it. An index stands for one key for the engine's whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIx(pub u32);

/// An image, by the dense index that the shell gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageIx(pub u16);

/// One of this engine's own requests; given by the engine, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReqId(pub u64);

/// A peer's request to us; given by the shell, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServeId(pub u64);

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// These units.
    Run(Run),
    /// Of a head: the head's choice, what the fewest hold and the asker lacks.
    Rarest {
        /// Upper bound of the run in bytes.
        max_bytes: u32,
        /// No neighbour offered anything for a deadline.
        starved: bool,
    },
}

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// A head: ask with [`Choice::Rarest`], and sparingly.
    Head,
    /// Any other member.
    Node,
}

/// A peer that the tracker named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Its index.
    pub peer: PeerIx,
    /// What it is.
    pub kind: PeerKind,
    /// Whether it shares this member's rack. Unknown racks count as shared.
    pub same_rack: bool,
}

/// A state message to or from a peer; [`crate::wire::PeerFrame`] is its form on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerMessage {
    /// The sender holds these units.
    Have {
        /// Of which image.
        image: ImageIx,
        /// Which.
        ranges: Vec<Run>,
    },
    /// The sender no longer holds this unit.
    Lost {
        /// Of which image.
        image: ImageIx,
        /// Which.
        unit: u32,
    },
    /// Free slots that the sender has for the receiver now.
    Slots {
        /// How many.
        free: u8,
    },
    /// The receiver served a corrupt unit.
    Refuted {
        /// Of which image.
        image: ImageIx,
        /// Which.
        unit: u32,
    },
    /// The sender has too many neighbours and closes. (The shell hands alternatives in as candidates.)
    Full,
    /// The sender is done with this connection.
    Bye,
    /// The sender never serves: what it holds counts as nobody's copy. Said before its first HAVE.
    ServesNobody,
}

/// How a request ended. Exactly one end for each request, also after a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Every unit of the run was reported as `Verified` (or the run ended at a `Corrupt` one).
    Done,
    /// The peer had no free slot.
    Busy,
    /// The peer does not hold it, or (a head) has nothing for us.
    Refused,
    /// The connection or the stream broke.
    PeerGone,
    /// The local store could not take it.
    StoreFull,
    /// We cancelled it.
    Cancelled,
}

/// What the engine is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time has passed. Early, late and repeated ticks are harmless.
    Tick,
    /// Take part in this image. Its chunks can be asked for once `Table` was handed in.
    Image {
        /// Its index.
        image: ImageIx,
        /// Its layout.
        units: Units,
    },
    /// All pages are parsed: the length of every chunk in bytes, in order. Chunks held before are handed in before, with `Held`.
    Table {
        /// Of which image.
        image: ImageIx,
        /// One for each chunk.
        lens: Arc<[u32]>,
    },
    /// Units verified in the store that were not fetched now (a seed's, or taken over).
    Held {
        /// Of which image.
        image: ImageIx,
        /// Which.
        run: Run,
    },
    /// A stored unit turned out bad when it was read or re-hashed: the shell dropped it.
    Dropped {
        /// Of which image.
        image: ImageIx,
        /// Which.
        unit: u32,
        /// The store can take it again. If not, the image is in use as it is, and what is lost stays lost.
        again: bool,
    },
    /// The tracker (or a full peer) named these.
    Candidates(Vec<Candidate>),
    /// The tracker says how large this member's rack is, and how narrow the way into it.
    Rack {
        /// Members in it; 0 if the rack is unknown.
        size: u32,
        /// Flows from other racks that all of them may have together; 0 for no limit.
        cap: u32,
    },
    /// A connection stands; the handshake has shown that the peer is a member.
    Connected {
        /// Who.
        peer: PeerIx,
        /// What it is, by its certificate.
        kind: PeerKind,
        /// Whether it shares our rack, by its certificate.
        same_rack: bool,
        /// We dialled it.
        dialled: bool,
    },
    /// A dial failed.
    DialFailed {
        /// Who.
        peer: PeerIx,
    },
    /// A connection ended. The shell has ended or will end the peer's requests with `PeerGone`.
    Disconnected {
        /// Who.
        peer: PeerIx,
    },
    /// The tracker revoked this member: never talk to it again.
    Revoked {
        /// Who.
        peer: PeerIx,
    },
    /// A state message arrived.
    Message {
        /// From whom.
        peer: PeerIx,
        /// What it says.
        message: PeerMessage,
    },
    /// A peer asks us for units. Answered with exactly one `Serve` or `Refuse`.
    Asked {
        /// Who.
        peer: PeerIx,
        /// The shell's name for it.
        serve: ServeId,
        /// Of which image.
        image: ImageIx,
        /// Which.
        choice: Choice,
    },
    /// A `Serve` ended, well or not; or the asker went away or cancelled before its request was answered (not `complete`).
    Served {
        /// Which.
        serve: ServeId,
        /// All its units were handed to the network.
        complete: bool,
    },
    /// The head's reply to a `Rarest` request names its run, before the first byte.
    Assigned {
        /// Which request.
        req: ReqId,
        /// What the head chose.
        run: Run,
    },
    /// Bytes are flowing. Optional; keeps the "no byte for half the deadline" rule honest.
    Progress {
        /// Which request.
        req: ReqId,
    },
    /// A unit is verified and stored.
    Verified {
        /// By which request.
        req: ReqId,
        /// Which.
        unit: u32,
    },
    /// A unit is not what the manifest says. The shell dropped it and ends the request.
    Corrupt {
        /// By which request.
        req: ReqId,
        /// Which.
        unit: u32,
    },
    /// The request is over.
    Ended {
        /// Which.
        req: ReqId,
        /// How.
        end: End,
    },
    /// Stop serving new requests (before handover or shutdown) or start again.
    Draining(bool),
}

/// Why a peer's request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// No free slot.
    Busy,
    /// We do not hold it, it is no valid run, or (a head) there is nothing this peer should get from us.
    NotHeld,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Neither needs the other.
    Idle,
    /// Too many neighbours; the shell sends `Full` with alternatives.
    Full,
    /// It broke the protocol.
    Misbehaved,
    /// The tracker revoked it.
    Revoked,
}

/// What a peer did that no correct peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misdeed {
    /// It sent bytes that are not what the manifest says.
    Corrupt {
        /// Of which image.
        image: ImageIx,
        /// Which unit.
        unit: u32,
    },
    /// A message names units that the image does not have, or too many ranges.
    Nonsense,
    /// It keeps asking beyond its slots.
    Flood,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Open a connection. Answered with `Connected` or `DialFailed`.
    Dial {
        /// To whom.
        peer: PeerIx,
    },
    /// Close the connection. Answered with `Disconnected`.
    Close {
        /// To whom.
        peer: PeerIx,
        /// Why.
        reason: CloseReason,
    },
    /// Ask the peer for units. Answered with `Assigned` (for `Rarest`), `Verified`/`Corrupt` for each, and one `Ended`.
    Fetch {
        /// Our name for it.
        req: ReqId,
        /// Whom.
        peer: PeerIx,
        /// Of which image.
        image: ImageIx,
        /// Which.
        choice: Choice,
    },
    /// Stop a request. Still answered with one `Ended`.
    Cancel {
        /// Which.
        req: ReqId,
    },
    /// Send these units for a peer's request. Answered with `Served`.
    Serve {
        /// Which request.
        serve: ServeId,
        /// Of which image.
        image: ImageIx,
        /// What to send.
        run: Run,
    },
    /// Stop sending for a peer's request: its receiver takes next to nothing. Answered with `Served`, unless that is on its way.
    Break(ServeId),
    /// Turn a peer's request down.
    Refuse {
        /// Which request.
        serve: ServeId,
        /// Why.
        reason: RefuseReason,
    },
    /// Send a state message.
    Send {
        /// To whom.
        peer: PeerIx,
        /// What.
        message: PeerMessage,
    },
    /// Ask the tracker for more peers.
    AskTracker {
        /// How many would be of use.
        want: u16,
    },
    /// Read and hash this stored unit: a peer says that it is bad. If so, the shell says `Dropped`.
    Recheck {
        /// Of which image.
        image: ImageIx,
        /// Which.
        unit: u32,
    },
    /// Something the shell logs, reports or acts on.
    Event(Event),
}

/// What happened in the large.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Every page is verified: parse the table and hand in `Input::Table`.
    PagesComplete {
        /// Of which image.
        image: ImageIx,
    },
    /// Every unit is verified.
    Complete {
        /// Of which image.
        image: ImageIx,
    },
    /// (A head.) Every unit is known to be held by at least two live nodes.
    Covered {
        /// Of which image.
        image: ImageIx,
    },
    /// Nobody reachable holds these units, of so many in all; the first few are named.
    Starved {
        /// Of which image.
        image: ImageIx,
        /// How many units nobody holds.
        missing: u32,
        /// The first of them.
        first: u32,
    },
    /// A peer misbehaved.
    Misbehaved {
        /// Who.
        peer: PeerIx,
        /// What it did.
        what: Misdeed,
    },
    /// Three peers within 100 units sent corrupt bytes: this machine's memory or disk is the suspect.
    SelfSuspect,
}

/// Why the engine wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A request of ours would miss its deadline.
    Deadline,
    /// What became ours is to be announced.
    Announce,
    /// Dials, backoffs, idle connections, the tracker.
    Housekeeping,
}
