//! What any store must do. Every operation is atomic and durable when it returns; none blocks for longer than a disk flush.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{BootId, Mac, NodeName, PublicKey, RackName};
use wulfpack_shared::identity::Role;
use wulfpack_shared::time::UnixTime;

use super::Discoveries;
use crate::dhcp::LeaseRecord;
use crate::fleet::{BootRecord, EventRecord, LogLine};
use crate::once::OnceRecord;

/// Most events that are kept.
pub const EVENTS_MAX: u64 = 10_000;
/// Most audit records that are kept.
pub const AUDIT_MAX: u64 = 100_000;
/// Most keys that may redeem one anonymous ticket.
pub const ANONYMOUS_MAX: u32 = 10_000;

/// Why the store cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another head uses the file.
    #[error("the state file {file} is in use by another process: is `wulf serve` already running?")]
    InUse {
        /// The file.
        file: String,
    },
    /// Not a state file, or a damaged one.
    #[error(
        "{file} is not a state file of this program or is damaged: {why}. Move it away to begin with an empty state: nodes that are up go on, running boots and tickets have to begin again"
    )]
    Foreign {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// Reading or writing failed.
    #[error("cannot {doing} the state file {file}: {why}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        file: String,
        /// The system's word.
        why: String,
    },
}

/// Outcome of showing a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// This key is now bound to it.
    First,
    /// This key was bound to it before.
    Again,
    /// All places are taken by these other keys. The attempt is recorded.
    Taken {
        /// The keys, in the order in which they came.
        by: Vec<PublicKey>,
    },
}

/// A key that a head has made a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The key.
    pub key: PublicKey,
    /// Its name.
    pub name: NodeName,
    /// What it is.
    pub role: Role,
    /// Its rack.
    pub rack: Option<RackName>,
    /// The life of the agent that joined with it.
    pub boot: BootId,
    /// Nonce of the token it joined with.
    pub nonce: [u8; 16],
    /// When its certificate was issued.
    pub issued: UnixTime,
    /// When its certificate ends.
    pub not_after: UnixTime,
}

/// A running node's word that it boots again (see [`crate::join::NextBoots`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextBoot {
    /// The key that gave it.
    pub key: PublicKey,
    /// The interface that will ask.
    pub mac: Mac,
    /// Until when it counts.
    pub until: UnixTime,
}

/// Keys whose certificates no longer count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Rises with each revocation.
    pub epoch: u32,
    /// The keys, ascending.
    pub keys: Vec<PublicKey>,
}

/// Who did what, kept for those who ask later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When.
    pub at: UnixTime,
    /// Who: the system user on the other end of the socket.
    pub who: String,
    /// What was done, in one word: `ticket`, `dhcp-override`, ….
    pub what: String,
    /// To what, and how far.
    pub detail: String,
}

/// What the fleet writes at a time.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Records that changed. Of each node the last [`crate::fleet::BOOTS_KEPT`] are kept.
    pub boots: Vec<BootRecord>,
    /// Log lines: node, start of the boot, number of the line in that boot, line.
    pub lines: Vec<(NodeName, UnixTime, u64, LogLine)>,
    /// Events.
    pub events: Vec<EventRecord>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.boots.is_empty() && self.lines.is_empty() && self.events.is_empty()
    }
}

/// State that outlives the process and that the heads of a cluster share.
pub trait Store: Discoveries + Send + Sync + Debug {
    /// The key under which join tokens are made: `fresh` if there is none yet, else the one that was stored first.
    fn token_key(&self, fresh: [u8; 32]) -> Result<[u8; 32], StoreError>;

    /// Binds `key` to the token with this nonce, if one of its `places` is free; the first key wins.
    /// What is known of the token may be forgotten once `expires` has passed.
    fn redeem(&self, nonce: [u8; 16], places: u32, expires: UnixTime, key: PublicKey) -> Result<Redeemed, StoreError>;

    /// The keys bound to this token.
    fn redeemers(&self, nonce: [u8; 16]) -> Result<Vec<PublicKey>, StoreError>;

    /// Records a member; a record of the same key is replaced.
    fn put_member(&self, member: &Member) -> Result<(), StoreError>;

    /// All members.
    fn members(&self) -> Result<Vec<Member>, StoreError>;

    /// Makes the certificates of these keys void; each may be forgotten once its time has passed.
    fn revoke(&self, keys: &[(PublicKey, UnixTime)]) -> Result<Revocations, StoreError>;

    /// What is revoked now.
    fn revocations(&self) -> Result<Revocations, StoreError>;

    /// Records that `node` boots again; an earlier word is replaced.
    fn put_next_boot(&self, node: &NodeName, boot: &NextBoot) -> Result<(), StoreError>;

    /// Takes the word away that `node` boots again, and returns it: whoever gets it is the only one. Words that `fits` does not
    /// want stay.
    fn take_next_boot(&self, node: &NodeName, fits: &dyn Fn(&NextBoot) -> bool)
    -> Result<Option<NextBoot>, StoreError>;

    /// Records what nodes boot once, or forgets it; all or nothing.
    fn put_onces(&self, records: &[(&NodeName, Option<&OnceRecord>)]) -> Result<(), StoreError>;

    /// What nodes boot once, by node.
    fn onces(&self) -> Result<Vec<(NodeName, OnceRecord)>, StoreError>;

    /// Writes what the fleet has learned, all or nothing.
    fn write(&self, batch: &Batch) -> Result<(), StoreError>;

    /// All boots that are kept, by node, oldest first.
    fn boots(&self) -> Result<Vec<BootRecord>, StoreError>;

    /// The log of one boot, oldest line first.
    fn log(&self, node: &NodeName, started: UnixTime) -> Result<Vec<LogLine>, StoreError>;

    /// The last `count` events, oldest first, each with its number. Numbers rise by one.
    fn events(&self, count: usize) -> Result<Vec<(u64, EventRecord)>, StoreError>;

    /// The first `count` events whose number is at least `from`, oldest first, each with its number.
    fn events_from(&self, from: u64, count: usize) -> Result<Vec<(u64, EventRecord)>, StoreError>;

    /// Stores leases of DHCP ranges, each unless another machine holds its address at `now`: then that lease is returned in its
    /// place. All that are stored are stored together.
    fn lend(&self, leases: &[LeaseRecord], now: UnixTime) -> Result<Vec<Option<LeaseRecord>>, StoreError>;

    /// All leases of DHCP ranges, by address.
    fn leases(&self) -> Result<Vec<LeaseRecord>, StoreError>;

    /// Records who did what.
    fn audit(&self, record: &AuditRecord) -> Result<(), StoreError>;

    /// The last `count` audit records, oldest first.
    fn audits(&self, count: usize) -> Result<Vec<AuditRecord>, StoreError>;

    /// Forgets what cannot matter any more: tokens, members, revocations, announced boots and leases whose time passed before `now`.
    fn prune(&self, now: UnixTime) -> Result<(), StoreError>;
}
