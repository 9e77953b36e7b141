//! The boot interface: name, up, carrier, address, reachability.
//!
//! `select.rs` and `arp.rs` are pure; `io.rs` speaks rtnetlink, `steps.rs` waits, `packet.rs` sends and hears ARP.

mod arp;
mod io;
mod packet;
mod select;
mod steps;

pub use arp::on_link_targets;
pub use io::{LinkError, Links};
pub use select::Interface;
pub use steps::{Carrier, NeighbourFound, Waiting};

#[cfg(test)]
mod tests;
