//! What members tell of their boot and of their swarm.

use serde::{Deserialize, Serialize};

use crate::id::{BootId, PublicKey};

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
    /// Something on the running node that an administrator has to see.
    Trouble(String),
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
    /// Bytes that left the data plane's sockets, headers included, whatever for.
    #[serde(default)]
    pub sent: u64,
    /// Bytes that reached them.
    #[serde(default)]
    pub received: u64,
    /// How long what was to be sent waited for the upload cap, all transfers together, in milliseconds.
    #[serde(default)]
    pub upload_waited_ms: u64,
    /// How long what was to be received waited for the download cap, likewise.
    #[serde(default)]
    pub download_waited_ms: u64,
    /// Callers and requests that were turned away: no slot was free, or the member paused.
    #[serde(default)]
    pub turned_away: u32,
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
            sent: self.sent.saturating_add(earlier.sent),
            received: self.received.saturating_add(earlier.received),
            upload_waited_ms: self.upload_waited_ms.saturating_add(earlier.upload_waited_ms),
            download_waited_ms: self.download_waited_ms.saturating_add(earlier.download_waited_ms),
            turned_away: self.turned_away.saturating_add(earlier.turned_away),
            ..self
        }
    }
}
