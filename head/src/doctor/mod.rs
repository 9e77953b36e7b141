//! Checks of a head, each with what was found and what to do about it. `wulf doctor` shows them. Nothing is changed, no port is
//! opened, nothing is sent.
//!
//! * `model`: one check. * `examine`: all of them in order.
//! * `files`: directories, keys, modes. * `network`: interfaces, ports, other servers. * `sockets`: who holds a port.
//! * `system`: clock, disk, programs, the service. * `images`: versions and what boots them. * `nodes`: what stands in the registry.

mod examine;
mod files;
mod images;
mod model;
mod network;
mod nodes;
mod sockets;
mod system;
#[cfg(test)]
mod tests;

pub use examine::{Patient, RunningHead, examine};
pub use model::{Check, State};
