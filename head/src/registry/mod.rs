//! Nodes and profiles: `nodes.yaml`, merge rules, validation, the resolved snapshot.
//!
//! * `file`, `scalar`: the form of the file, with Warewulf's field names.
//! * `merge`: profiles and negations, Warewulf's rules.
//! * `reader`, `resolve`: texts to types, checks, the snapshot. `problem`: what a person is told.
//! * `hardware`, `disks`: management controllers, disks and file systems.
//! * `racks`: which rack a node is in where no entry says it, and what is wrong with racks.
//! * `resolved`: the only form that boot services, overlays and join see.
//! * `io`: loading, locking, writing. `watch`: new snapshots when the file changes.
//! * `diff`: what a change changes. `provenance`: where each value of a node comes from.
//! * `history`: every state that it was in. `surroundings`: the images, overlays and networks that it refers to.

mod diff;
mod disks;
mod file;
mod hardware;
mod history;
mod io;
mod merge;
mod problem;
mod provenance;
mod racks;
mod reader;
mod resolve;
mod resolved;
mod scalar;
mod surroundings;
mod watch;

pub use diff::{Change, diff, flatten};
pub use file::{Disk, Entry, FileSystem, Ipmi, Kernel, Map, NetDev, NodesFile, Partition, SwarmPart};
pub use hardware::{Controller, DiskFileSystem, DiskLayout, DiskPartition, Secret};
pub use history::{Deed, History, Record};
pub use io::{Editor, INITIAL_YAML, Registry, note_by_hand};
pub use problem::{Problem, Problems, RegistryError};
pub use provenance::{Origin, origins, profile_origins};
pub use racks::{RackRule, check_racks};
pub use resolve::Defaults;
pub use resolved::{ImageRef, Interface, Node, Snapshot};
pub use scalar::{List, Text};
pub use surroundings::{Surroundings, networks_of};
pub use watch::{RegistryWatcher, Source, Watched};

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
