//! The DHCP server: `machine.rs` decides, `io.rs` owns the sockets.
//!
//! Nodes and reserved devices have the address that registry and configuration give them: one for each MAC address, whatever the
//! client calls itself, and no state that a restart could lose. Unknown machines get addresses of a range, where there is one; these
//! leases are stored. Beside another server it says only what to boot. Options and boot files follow RFC 2131, 2132, 3396, 3046,
//! 3527, 4390, 4578, 5107, Intel's PXE 2.1, and what iPXE and EDK2 do in practice.
//!
//! * `packet`, `reply`: what comes in, what goes out. `options`: what an administrator may add.
//! * `client`: what kind of program asks, and what it boots.
//! * `policy`: the configuration. `judge`: what is to be done about a request; `act`, `range`: doing it.
//! * `explain`: the same judgement, told to a person.
//! * `leases`: the addresses of a range; `pending`: those that are looked at first. `rates`: how often a machine is answered.
//! * `rivals`: other servers. `io`, `hear`, `send`: sockets and store. `raw`: frames to machines without an address, and ARP.

mod act;
mod client;
mod evidence;
mod explain;
mod hear;
mod interfaces;
mod io;
mod judge;
mod leases;
mod machine;
mod options;
mod packet;
mod pending;
mod policy;
mod range;
mod rates;
mod raw;
mod reply;
mod rivals;
mod send;

pub use crate::boot::{Client, Nbps};
pub use evidence::Evidence;
pub use explain::{Explanation, Question, explain};
pub use interfaces::{InterfaceError, Link, links};
pub use io::{BindError, Handle, Options, Server, Services};
pub use leases::{LeaseRecord, LeaseState};
pub use machine::{Counters, Input, Machine, Output, Port, Settings, Status};
pub use options::{OptionError, OptionSet, option_name, option_of_text};
pub use packet::{Dissected, PacketError, Request, dissect};
pub use policy::Policy;
pub use rivals::State;

#[cfg(test)]
mod tests;
