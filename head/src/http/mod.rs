//! The HTTP boot service: boot script, kernel, initramfs archives.
//!
//! GET and HEAD of a few paths, from memory, with lengths and single ranges; nothing else. What it serves it is handed through the
//! traits of `sources.rs`.

mod body;
mod cache;
mod closures;
mod desk;
mod io;
mod memory;
mod neighbour;
mod once;
mod range;
mod routes;
mod sources;
mod unknown;
mod wire;

pub use desk::{Desk, Handout, Peer, Refusal, Services};
pub use io::{BindError, Listen, Options, Server};
pub(crate) use memory::in_memory;
pub use routes::router;
pub use sources::{AgentArchive, BootVersion, Neighbours, Tokens, VersionFile, Versions};
pub use unknown::Unknown;

#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;
