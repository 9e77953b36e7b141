//! Agent to head: join, track, report, renew, announce a reboot, wait for orders. The connection (libp2p over TCP and Noise) proves the agent's key.

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::{BootId, ImageName, NodeName, PublicKey, RackName, VersionId};
use crate::identity::{SignedMembership, SignedTime};
use crate::image::SignedHeader;
use crate::overlay::Bundle;
use crate::time::UnixTime;
use crate::wire::{Listen, Orders, OverlaysAnswer, OverlaysRequest};

/// What an agent asks of a head. A key without a valid certificate may only send `Join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlRequest {
    /// Become a member.
    Join(Box<JoinRequest>),
    /// Announce what this member holds and ask for peers.
    Track(TrackRequest),
    /// Tell what happened.
    Report(ReportBatch),
    /// A new certificate before the old one ends.
    Renew(RenewRequest),
    /// This node goes down and boots again at once: where boots wait for approval, its next one shall not.
    NextBoot,
    /// Wait for orders.
    Listen(Listen),
    /// The runtime overlays as they would be now.
    Overlays(OverlaysRequest),
}

/// What the head answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlResponse {
    /// To `Join`.
    Joined(Box<JoinAnswer>),
    /// To `Track`.
    Peers(TrackAnswer),
    /// To `Report`: the highest sequence number now safe with the head.
    Recorded {
        /// Events up to and including this one need not be sent again.
        through: u64,
    },
    /// To `Renew`.
    Renewed(RenewAnswer),
    /// To any of them.
    Refused(Refusal),
    /// To `NextBoot`.
    Expected {
        /// The boot has to begin before that.
        until: UnixTime,
    },
    /// To `Listen`.
    Orders(Orders),
    /// To `Overlays`.
    Overlays(OverlaysAnswer),
}

/// Why the head said no, for the person at the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What to do about it in code.
    pub reason: RefusalReason,
    /// What to show.
    pub text: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalReason {
    /// The token is forged, expired, or was redeemed by another key.
    Token,
    /// This key has no valid certificate.
    NotMember,
    /// The node has no image, or the image has no built version.
    NoImage,
    /// Something in the head's configuration must be mended first.
    Configuration,
    /// Try again later.
    Busy,
    /// The agent speaks another version.
    Version,
}

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
    /// Overlays in the order in which they are applied.
    pub overlays: Vec<Bundle>,
}

/// A member of the swarm, as the tracker knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its key; the TLS handshake must show it.
    pub key: PublicKey,
    /// Data-plane addresses to try in order.
    pub addrs: Vec<SocketAddr>,
    /// Its rack, if known.
    pub rack: Option<RackName>,
    /// A head: picks what it sends, and is spared.
    pub head: bool,
}

/// What a member holds of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackImage {
    /// The version.
    pub image: VersionId,
    /// Units it has verified.
    pub held: u32,
    /// Units there are.
    pub total: u32,
}

/// Announces this member and asks for peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackRequest {
    /// Its data plane.
    pub data: DataAddrs,
    /// Its images.
    pub images: Vec<TrackImage>,
    /// How many more peers it could use.
    pub want: u16,
    /// Peers it has: the tracker need not name them again.
    pub have: Vec<PublicKey>,
    /// It leaves: forget it.
    pub leaving: bool,
}

/// Peers for a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackAnswer {
    /// At most [`crate::limits::PEERS_MAX`].
    pub peers: Vec<PeerInfo>,
    /// Members in this member's rack that want or hold its images; 0 if its rack is unknown.
    pub rack_size: u32,
    /// Inbound cross-rack flows the rack may have; 0 for no limit.
    pub rack_cap: u32,
    /// Certificates below this epoch are void if their key is in `revoked`.
    pub epoch: u32,
    /// Revoked keys.
    pub revoked: Vec<PublicKey>,
    /// Seconds until the next `Track`.
    pub again_s: u16,
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

/// The phases of a boot, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The firmware got an address. Stamped by the head.
    Dhcp,
    /// The network boot program was handed out. Stamped by the head.
    Nbp,
    /// The boot script was rendered. Stamped by the head.
    Script,
    /// The kernel was handed out. Stamped by the head.
    Kernel,
    /// The agent has its link and joined.
    Join,
    /// The image is complete and verified.
    Fetch,
    /// The root is mounted.
    Mount,
    /// The overlays are applied.
    Overlay,
    /// The real init runs.
    Pivot,
    /// The default target is reached and a login answers.
    Ready,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Self; 10] = [
        Self::Dhcp,
        Self::Nbp,
        Self::Script,
        Self::Kernel,
        Self::Join,
        Self::Fetch,
        Self::Mount,
        Self::Overlay,
        Self::Pivot,
        Self::Ready,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dhcp => "dhcp",
            Self::Nbp => "nbp",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Join => "join",
            Self::Fetch => "fetch",
            Self::Mount => "mount",
            Self::Overlay => "overlay",
            Self::Pivot => "pivot",
            Self::Ready => "ready",
        }
    }
}

impl core::fmt::Display for Phase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// Events of one member, buffered while the head is away and sent again until recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportBatch {
    /// Which life of the agent.
    pub boot: BootId,
    /// At most [`crate::limits::REPORT_EVENTS_MAX`].
    pub events: Vec<ReportEvent>,
    /// State of the swarm on this member now.
    pub swarm: Option<SwarmSummary>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportEvent {
    /// Counts up from 1 in this boot.
    pub seq: u64,
    /// Milliseconds of the kernel's monotonic clock (since the kernel started).
    pub at_ms: u64,
    /// What happened.
    pub kind: ReportKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportKind {
    /// A phase has ended well.
    Reached(Phase),
    /// A phase has failed; the node tries again.
    Failed {
        /// Which.
        phase: Phase,
        /// Why, for a person.
        reason: String,
        /// Seconds until the next try.
        retry_s: u32,
    },
    /// A line of the agent's log or of the console.
    Log(String),
    /// A peer sent bytes that are not what the manifest says, or a unit that this node stores is not what it was.
    CorruptFrom {
        /// Who; the node's own key where it is its own unit.
        peer: PublicKey,
        /// Which unit.
        unit: u32,
    },
    /// The agent process was ended by a signal and started again by its supervisor.
    Restarted {
        /// Which signal, or which exit status.
        how: String,
    },
    /// systemd's word at ready: `running`, or `degraded` with the failed units.
    System {
        /// As `systemctl is-system-running` prints it.
        state: String,
        /// Failed units.
        failed: Vec<String>,
    },
    /// The agent's clock was stepped.
    ClockStepped {
        /// Head's time less the clock, in milliseconds.
        offset_ms: i64,
    },
    /// MemAvailable when the node was ready, in bytes.
    MemAvailable(u64),
    /// What the agent had used when the image was complete.
    Used {
        /// Processor time in milliseconds.
        cpu_ms: u64,
        /// The most memory that was resident at a time, in bytes; the image is no part of it.
        memory_peak: u64,
    },
}

/// Counters of the swarm on one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmSummary {
    /// Verified bytes that came from heads.
    pub from_heads: u64,
    /// Verified bytes that came from peers.
    pub from_peers: u64,
    /// Bytes served to others.
    pub served: u64,
    /// Units verified.
    pub held: u32,
    /// Units of the image.
    pub total: u32,
    /// Units that arrived corrupt.
    pub corrupt: u32,
    /// Requests cancelled at their deadline.
    pub cancelled: u32,
    /// Connected peers.
    pub peers: u16,
    /// Bytes that arrived in addition to the verified ones (second copies, corrupt ones).
    pub wasted: u64,
}

impl SwarmSummary {
    /// The counters of a boot whose earlier processes had counted `earlier`. What is held, and who is connected, is as this
    /// process says.
    #[must_use]
    pub const fn after(self, earlier: Self) -> Self {
        Self {
            from_heads: self.from_heads.saturating_add(earlier.from_heads),
            from_peers: self.from_peers.saturating_add(earlier.from_peers),
            served: self.served.saturating_add(earlier.served),
            corrupt: self.corrupt.saturating_add(earlier.corrupt),
            cancelled: self.cancelled.saturating_add(earlier.cancelled),
            wasted: self.wasted.saturating_add(earlier.wasted),
            ..self
        }
    }
}
