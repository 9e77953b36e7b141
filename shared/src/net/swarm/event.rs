//! What a swarm tells the process it runs in.

use crate::id::{PublicKey, VersionId};

/// Something to log, report or act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwarmEvent {
    /// The chunk table is complete and read: chunks can be asked for.
    PagesComplete {
        /// Of which image.
        image: VersionId,
    },
    /// Every unit is verified and stored, and the store is sealed.
    Complete {
        /// Which image.
        image: VersionId,
    },
    /// (A head.) Every unit is known to be held by at least two live nodes: the head could die now.
    Covered {
        /// Which image.
        image: VersionId,
    },
    /// Nobody reachable holds so many units.
    Starved {
        /// Of which image.
        image: VersionId,
        /// How many.
        missing: u32,
        /// The first of them.
        first: u32,
    },
    /// More peers would be of use, or the tracker has news.
    AskTracker {
        /// How many.
        want: u16,
    },
    /// A peer sent bytes that are not what the manifest says. They were dropped.
    CorruptFrom {
        /// Who.
        peer: PublicKey,
        /// Of which image.
        image: VersionId,
        /// Which unit.
        unit: u32,
    },
    /// A peer broke the protocol otherwise.
    Misbehaved {
        /// Who.
        peer: PublicKey,
        /// How.
        what: &'static str,
    },
    /// Corrupt bytes came from three peers within a hundred units: this machine's memory or disk is the suspect.
    SelfSuspect,
    /// There is no space for what arrives; the text says for which file. Fetching goes on with a pause: space may come.
    StoreFull(String),
    /// The store could not be read or written; the text says which file and why. Fetching goes on with a pause.
    StoreFailed(String),
    /// A unit that this member held is not what the manifest says: its memory or disk went bad. It is not served any more.
    Rotten {
        /// Of which image.
        image: VersionId,
        /// Which.
        unit: u32,
    },
}

impl SwarmEvent {
    /// Whether it can be dropped if nobody reads events: it will come again, or a counter has it too.
    pub(super) const fn is_chatter(&self) -> bool {
        matches!(
            self,
            Self::Starved { .. }
                | Self::AskTracker { .. }
                | Self::CorruptFrom { .. }
                | Self::Misbehaved { .. }
                | Self::StoreFull(_)
                | Self::StoreFailed(_)
        )
    }
}
