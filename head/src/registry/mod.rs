//! Nodes and profiles: `nodes.yaml`, merge rules, validation, the resolved snapshot.

mod resolved;

pub use resolved::{ImageRef, Interface, Node, Snapshot};
