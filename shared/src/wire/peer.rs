//! Between members of the swarm, over QUIC. There is no verb that pushes bytes: a member gets only what it asked for.
//!
//! On each connection the dialler opens one bidirectional stream for [`PeerFrame`]s, each preceded by its length as
//! four little-endian bytes, at most [`crate::limits::PEER_FRAME_MAX`]. Every request is a bidirectional stream of its own:
//! one [`ChunkAsk`] (with the same length prefix) one way and end of stream; one [`ChunkReply`] (likewise) the other way and,
//! if it is `Units`, the bytes of the units one after the other, whose lengths both ends know from header and table.

use serde::{Deserialize, Serialize};

use crate::id::{PublicKey, VersionId};
use crate::image::Run;
use crate::wire::PeerInfo;

/// A message about state; any may be lost with its connection and is sent anew on the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerFrame {
    /// First on every connection, both ways.
    Hello {
        /// [`crate::wire::VERSION`] of the sender.
        version: u8,
        /// Images it takes part in.
        images: Vec<VersionId>,
    },
    /// The sender holds these units and serves them; at most [`crate::limits::HAVE_RANGES_MAX`] ranges.
    Have {
        /// Of which image.
        image: VersionId,
        /// Which.
        ranges: Vec<Run>,
    },
    /// The sender no longer holds this unit: its copy went bad.
    Lost {
        /// Of which image.
        image: VersionId,
        /// Which.
        unit: u32,
    },
    /// How many more requests the sender would serve now to the receiver.
    Slots {
        /// Free slots.
        free: u8,
    },
    /// The unit that the receiver served was not what the manifest says; it should check its copy.
    Refuted {
        /// Of which image.
        image: VersionId,
        /// Which.
        unit: u32,
    },
    /// The sender has too many neighbours and closes after this; try these.
    Full {
        /// Two others.
        alternatives: Vec<PeerInfo>,
    },
    /// Both are complete, or the sender leaves.
    Bye,
    /// These keys were revoked, as a head told the sender; signed by nobody, so only a hint to ask the tracker.
    Revoked {
        /// Which.
        keys: Vec<PublicKey>,
    },
    /// The sender serves nobody as long as this connection stands: what it holds is no copy that anybody could have. Before its first
    /// HAVE.
    ServesNobody,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// These units.
    Run(Run),
    /// Of a head only: whatever of the image the fewest members hold and the asker lacks, at most so many bytes.
    Rarest {
        /// Upper bound of the run in bytes.
        max_bytes: u32,
        /// No neighbour offered anything for a deadline: the head may send what others already hold.
        starved: bool,
        /// Messages that the asker sent on this connection before it asked, its hello not counted. Streams overtake each other: the
        /// head takes the request up when it has heard these, so that it never sends what the asker has just said it holds.
        after: u32,
    },
}

/// A request for units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkAsk {
    /// Of which image.
    pub image: VersionId,
    /// Which.
    pub want: Want,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkReply {
    /// The bytes of these units follow.
    Units(Run),
    /// No free slot: the rare race. Free slots are announced by `Slots`.
    Busy,
    /// The sender does not hold them, does not know the image, or (a head) has nothing that the asker should get from it.
    Refused,
}
