//! The tracker's inputs and outputs.

use std::net::IpAddr;

use wulfpack_shared::id::{PublicKey, RackName};
use wulfpack_shared::wire::{PeerInfo, TrackAnswer, TrackRequest};

/// A request to the tracker; given by the shell, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// What the tracker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed. Early, late and repeated ticks are harmless.
    Tick,
    /// The heads as peers of the swarm, this one first. Every answer names those that the asker does not have.
    Heads(Vec<PeerInfo>),
    /// A member announces itself and asks. Answered with exactly one [`Output::Answer`]. A join is the first of these.
    Track {
        /// The shell's name for it.
        ask: AskId,
        /// Who, as the connection has shown.
        key: PublicKey,
        /// Its rack, as its certificate says.
        rack: Option<RackName>,
        /// The address that the head sees.
        seen: IpAddr,
        /// What it says and wants; images that it may not have are already left out.
        request: TrackRequest,
    },
    /// A member is gone.
    Forget(PublicKey),
    /// Certificates that no longer count: all of them, not only the new ones.
    Revoked {
        /// Rises with each revocation.
        epoch: u32,
        /// The keys.
        keys: Vec<PublicKey>,
    },
}

/// What the tracker wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To a [`Input::Track`].
    Answer {
        /// Which.
        ask: AskId,
        /// The answer.
        answer: TrackAnswer,
    },
    /// A member was silent for too long and is no longer named to others.
    Expired(PublicKey),
}

/// Why the tracker wants to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A member will have been silent for too long.
    Expiry,
}
