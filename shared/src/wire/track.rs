//! Who holds what: members announce themselves to the tracker and are told of peers.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::{PublicKey, RackName, VersionId};
use crate::wire::DataAddrs;

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
