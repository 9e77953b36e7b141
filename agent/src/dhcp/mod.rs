//! The agent's DHCP client (RFC 2131).
//!
//! `packet.rs` builds and reads packets, `machine.rs` decides, `io.rs` owns the socket.

mod io;
mod lease;
mod machine;
mod packet;

pub use io::{DhcpClient, DhcpError, read_lease, write_lease};
pub use lease::Lease;
pub use machine::{Client, Input, LostReason, Output, Reason};
pub use packet::ClientId;

#[cfg(test)]
mod tests;
