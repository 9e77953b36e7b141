//! What proves Wulfpack: the harness that tests, demo and benchmarks share.

pub mod baseline;
pub mod cluster;
pub mod contest;
pub mod demo;
pub mod figures;
pub mod fuzz;
pub mod harness;
pub mod joins;
pub mod oci;
pub mod pair;
pub mod rush;
pub mod sim;
pub mod storm;
