//! Every message that crosses the network, its version, and the one bounded codec. The only place that names bincode.
//!
//! * `codec`: values to bytes and back, never past a limit.
//! * `control`: agent to head and back, over libp2p.
//! * `peer`: between members of the swarm, over QUIC.

mod codec;
mod control;
mod peer;

pub use codec::{DecodeError, decode, encode};
pub use control::{
    ControlRequest, ControlResponse, DataAddrs, JoinAnswer, JoinPurpose, JoinRequest, NodeSettings, OnFail, PeerInfo,
    Phase, Refusal, RefusalReason, RenewAnswer, RenewRequest, ReportBatch, ReportEvent, ReportKind, RootMode,
    SeedPolicy, SwarmSummary, TrackAnswer, TrackImage, TrackRequest,
};
pub use peer::{ChunkAsk, ChunkReply, PeerFrame, Want};

/// The version of everything in this module. A head speaks this one and the one before it.
pub const VERSION: u8 = 1;
/// Name of the control protocol, as libp2p negotiates it.
pub const CONTROL_PROTOCOL: &str = "/wulfpack/control/1";
/// ALPN of the data plane.
pub const DATA_ALPN: &[u8] = b"wulfpack-data/1";
