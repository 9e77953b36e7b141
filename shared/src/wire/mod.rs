//! Every message that crosses the network, its version, and the one bounded codec. The only place that names bincode.
//!
//! * `codec`: values to bytes and back, never past a limit.
//! * `control`: agent to head and back, over libp2p: every request and every answer. By subject: `join`, `track`, `report`;
//!   `orders`: what heads want of running nodes; `discovery`: machines that no registry knows.
//! * `peer`: between members of the swarm, over QUIC.

mod codec;
mod control;
mod discovery;
mod join;
mod orders;
mod peer;
mod report;
mod track;
mod version;

pub use codec::{DecodeError, decode, encode};
pub use control::{ControlRequest, ControlResponse, Refusal, RefusalReason};
pub use discovery::{
    Adoption, AwaitAdoption, BmcInfo, CpuInfo, DiscoverRequest, Discovered, DiskInfo, GpuInfo, Inventory, Neighbour,
    NicInfo, SystemInfo, printable,
};
pub use join::{
    DataAddrs, JoinAnswer, JoinPurpose, JoinRequest, NodeSettings, OnFail, RenewAnswer, RenewRequest, RootMode,
    SeedPolicy,
};
pub use orders::{
    LISTEN_WAIT_S, Listen, NodeState, Order, OrderDone, OrderKind, OrderOutcome, Orders, OverlaysAnswer,
    OverlaysRequest,
};
pub use peer::{ChunkAsk, ChunkReply, PeerFrame, Want};
pub use report::{Phase, ReportBatch, ReportEvent, ReportKind, SwarmSummary};
pub use track::{PeerInfo, TrackAnswer, TrackImage, TrackRequest};
pub use version::{CONTROL_PROTOCOL, DATA_ALPN, LISTEN_PROTOCOL, VERSION};
