//! The fleet machine's inputs and outputs.

use std::net::IpAddr;

use wulfpack_shared::id::{BootId, Mac, NodeName, PublicKey, VersionId};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::ReportBatch;

use super::{BootEvent, Severity};

/// A node was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Which.
    pub node: NodeName,
    /// With this key.
    pub key: PublicKey,
    /// In this life of the agent.
    pub boot: BootId,
    /// From this address.
    pub addr: IpAddr,
    /// It was told to fetch this.
    pub image: VersionId,
    /// Version of the agent program.
    pub agent: String,
    /// MemTotal in bytes.
    pub memory: u64,
    /// The agent's clock less the head's, in milliseconds.
    pub clock_offset_ms: i64,
}

/// What the fleet is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A boot service answered a machine.
    Boot(BootEvent),
    /// A node was admitted.
    Joined(Joined),
    /// A node's report arrived.
    Report {
        /// Which node, as its certificate says.
        node: NodeName,
        /// The address it came from.
        addr: IpAddr,
        /// What it says.
        batch: ReportBatch,
    },
    /// A machine may boot as this node only once an administrator has approved it.
    Waits {
        /// Which node.
        node: NodeName,
        /// The interface that boots.
        mac: Mac,
        /// The address that it asks from.
        addr: IpAddr,
    },
    /// A machine boots as this node, whose last boot announced it: it need not wait for an administrator.
    Announced {
        /// Which node.
        node: NodeName,
        /// The interface that boots.
        mac: Mac,
        /// The address that it asks from.
        addr: IpAddr,
    },
    /// An administrator approved the boot that waits.
    Approve {
        /// Of which node.
        node: NodeName,
        /// From this interface and no other.
        mac: Mac,
        /// Who.
        who: String,
    },
    /// The login check of a boot ended.
    Login {
        /// Which node.
        node: NodeName,
        /// Start of the boot.
        started: UnixTime,
        /// `Err` says why the check was given up.
        result: Result<(), String>,
    },
    /// Something else happened.
    Event {
        /// How much it matters.
        severity: Severity,
        /// To which node.
        node: Option<NodeName>,
        /// What.
        text: String,
    },
    /// The node is no longer in the registry: it is not shown any more.
    Forget(NodeName),
}

/// What the fleet wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// See whether a login answers, until it does or the boot is given up. Answered with [`Input::Login`].
    Probe {
        /// Which node.
        node: NodeName,
        /// Start of the boot.
        started: UnixTime,
        /// Where.
        addr: IpAddr,
    },
}
