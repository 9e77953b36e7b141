//! What proves Wulfpack: the harness that tests, demo and benchmarks share.

pub mod baseline;
pub mod figures;
pub mod harness;
