//! The life of a node: `machine.rs` decides, the rest does.
