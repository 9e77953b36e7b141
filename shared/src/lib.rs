//! What both sides of Wulfpack must agree on: identifiers, limits, boot arguments, the image format, identities, the wire
//! protocol, and the pure swarm engine that runs on the head, on every node, and in the simulator.
//!
//! Nothing here touches a socket, a file or a clock, except below [`net`] (feature `net`).

pub mod bootargs;
pub mod id;
pub mod identity;
pub mod image;
pub mod limits;
pub mod manners;
pub mod overlay;
pub mod swarm;
pub mod time;
pub mod wire;

#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "sim")]
pub mod sim;
