//! Who is in the swarm: gives out peers and rack sizes. `machine.rs` is pure.
