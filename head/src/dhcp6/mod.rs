//! The DHCPv6 server (RFC 8415, 5970): `packet.rs` reads, `machine.rs` decides, `io.rs` owns the sockets.
//!
//! Stateful, for known nodes only: each has the address that the registry gives it. Firmware and iPXE name themselves by the UUID
//! of the machine; it is known by the hardware address in its link-local one, or by what a relay says.

mod io;
mod machine;
mod packet;

pub use io::{BindError, Server};
pub use machine::{Counters, Input, Link, Machine, Output, Settings};
pub use packet::{PacketError, Request, mac_of_address};

#[cfg(test)]
mod tests;
