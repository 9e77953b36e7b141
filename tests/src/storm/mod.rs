//! Thousands of machines that power on in the same second, in virtual time: the head's real DHCP, TFTP and wave machines, clients
//! with the retry schedules of real firmware, and one link that all of it has to go through.

mod client;
mod link;
mod loads;
mod nodes;
mod world;

pub use world::{Outcome, Storm, run};

#[cfg(test)]
mod tests;
