//! The agent of a Wulfpack node: the library behind the `wulf-agent` binary.

pub mod cli;
pub mod clock;
pub mod console;
pub mod dhcp;
pub mod discover;
pub mod fetch;
pub mod handover;
pub mod life;
pub mod link;
pub mod member;
pub mod modules;
pub mod neighbour;
pub mod orders;
pub mod overlay;
pub mod paths;
pub mod report;
pub mod resident;
pub mod root;
pub mod supervisor;
