//! Version and names of the protocols.

/// The version of everything in this module. A head speaks this one and the one before it.
pub const VERSION: u8 = 1;
/// Name of the control protocol, as libp2p negotiates it.
pub const CONTROL_PROTOCOL: &str = "/wulfpack/control/1";
/// Name of the protocol of requests that wait long for their answer.
pub const LISTEN_PROTOCOL: &str = "/wulfpack/listen/1";
/// ALPN of the data plane.
pub const DATA_ALPN: &[u8] = b"wulfpack-data/1";
