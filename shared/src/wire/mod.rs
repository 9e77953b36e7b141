//! Every message that crosses the network, its version, and the one bounded codec. The only place that names bincode.
//!
//! * `codec`: values to bytes and back, never past a limit.
//! * `control`: agent to head and back, over libp2p.
//! * `orders`: what heads want of running nodes.
//! * `peer`: between members of the swarm, over QUIC.

mod codec;
mod control;
mod orders;
mod peer;
mod version;

pub use codec::{DecodeError, decode, encode};
pub use control::{
    ControlRequest, ControlResponse, DataAddrs, JoinAnswer, JoinPurpose, JoinRequest, NodeSettings, OnFail, PeerInfo,
    Phase, Refusal, RefusalReason, RenewAnswer, RenewRequest, ReportBatch, ReportEvent, ReportKind, RootMode,
    SeedPolicy, SwarmSummary, TrackAnswer, TrackImage, TrackRequest,
};
pub use orders::{
    Listen, NodeState, Order, OrderDone, OrderKind, OrderOutcome, Orders, OverlaysAnswer, OverlaysRequest,
};
pub use peer::{ChunkAsk, ChunkReply, PeerFrame, Want};
pub use version::{CONTROL_PROTOCOL, DATA_ALPN, LISTEN_PROTOCOL, VERSION};
