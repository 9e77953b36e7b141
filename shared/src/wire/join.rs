//! Becoming a member, and staying one: join and renewal.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::{BootId, ImageName, NodeName};
use crate::identity::{SignedMembership, SignedTime};
use crate::image::SignedHeader;
use crate::manners::Manners;
use crate::overlay::Bundle;
use crate::wire::PeerInfo;

/// Where a member's data plane listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataAddrs {
    /// UDP port.
    pub port: u16,
    /// Addresses, the preferred one first; at most [`crate::limits::PEER_ADDRS_MAX`]. Empty: the one the head sees.
    pub ips: Vec<IpAddr>,
}

/// What the agent joins for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinPurpose {
    /// To become the node: the answer holds settings and overlays.
    Boot,
    /// To fetch an image to a file; `None` means the image of the ticket's node.
    Fetch {
        /// The image, by name.
        image: Option<ImageName>,
    },
}

/// Asks to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// From the token initrd or the ticket.
    pub token: Vec<u8>,
    /// What for.
    pub purpose: JoinPurpose,
    /// Version of the agent program.
    pub agent: String,
    /// This life of the agent.
    pub boot: BootId,
    /// The signed time must answer it.
    pub nonce: [u8; 16],
    /// Data plane of this member.
    pub data: DataAddrs,
    /// `uname -m`.
    pub arch: String,
    /// MemTotal in bytes.
    pub memory: u64,
    /// The agent's clock less the time in its boot arguments, in milliseconds, before it was stepped.
    pub clock_offset_ms: i64,
}

/// All that a node needs from the head to get to a login prompt; the head may die after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// The head's time, signed for the request's nonce.
    pub time: SignedTime,
    /// This key is this member now.
    pub certificate: SignedMembership,
    /// The image version to fetch.
    pub image: SignedHeader,
    /// How to become the node; `None` for `JoinPurpose::Fetch`.
    pub node: Option<Box<NodeSettings>>,
    /// First peers, the head among them.
    pub peers: Vec<PeerInfo>,
    /// Seconds until the first `Track`.
    pub track_after_s: u16,
}

/// How the root file system lies on the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootMode {
    /// The squashfs blob below an overlayfs with a tmpfs upper layer.
    #[default]
    Overlay,
    /// Unpacked into a tmpfs.
    Tmpfs,
}

/// What a node does after a phase has failed and a pause has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// The failed phase again.
    #[default]
    Retry,
    /// From power-on.
    Reboot,
    /// Wait for a person.
    Poweroff,
}

/// How long a node serves its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeedPolicy {
    /// While booting and this many seconds after it was ready.
    Seconds(u32),
    /// As long as it runs.
    Always,
    /// Not at all, not even while booting.
    Never,
}

impl Default for SeedPolicy {
    fn default() -> Self {
        Self::Seconds(600)
    }
}

/// The registry's word on this node, resolved by the head at join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Its name.
    pub name: NodeName,
    /// Its host name, fully qualified or not.
    pub hostname: String,
    /// `/etc/machine-id` and D-Bus id: a keyed hash of cluster and node.
    pub machine_id: [u8; 16],
    /// Mixed into the kernel's entropy pool.
    pub entropy: [u8; 32],
    /// Root mode.
    pub root: RootMode,
    /// Upper layer of the root, in percent of the node's memory.
    pub root_percent: u8,
    /// Directories that become tmpfs of their own over the image's content.
    pub tmpfs_dirs: Vec<String>,
    /// Absolute path of the real init.
    pub init: String,
    /// Release of the kernel that the registry chose; the running one should be it.
    pub kernel: String,
    /// How long to serve.
    pub seed: SeedPolicy,
    /// What it takes of links and processors for the swarm.
    pub manners: Manners,
    /// Overlays in the order in which they are applied.
    pub overlays: Vec<Bundle>,
}

/// Asks for a new certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// The certificate in use.
    pub certificate: SignedMembership,
    /// The signed time must answer it.
    pub nonce: [u8; 16],
}

/// The new certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewAnswer {
    /// In force at once.
    pub certificate: SignedMembership,
    /// The head's time.
    pub time: SignedTime,
}
