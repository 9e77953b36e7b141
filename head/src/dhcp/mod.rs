//! The DHCP server: `machine.rs` decides, `io.rs` owns the sockets.
//!
//! It is a full server for known nodes only, from the registry's snapshot in memory: one address per MAC address, whatever the
//! client calls itself, and no state that a restart could lose. Options and boot files follow RFC 2131, 2132, 3396, 3046, 4578 and
//! what iPXE and EDK2 do in practice.

mod client;
mod evidence;
mod interfaces;
mod io;
mod machine;
mod packet;
mod reply;
mod rivals;

pub use crate::boot::{Client, Nbps};
pub use evidence::Evidence;
pub use interfaces::{InterfaceError, Link, links};
pub use io::{BindError, Handle, Options, Server};
pub use machine::{Counters, Status};
pub use machine::{Input, Machine, Output, Settings};
pub use packet::{PacketError, Request};
pub use rivals::State;

#[cfg(test)]
mod tests;
