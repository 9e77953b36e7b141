//! The HTTP boot service: boot script, kernel, initramfs archives.
//!
//! GET and HEAD of four paths, from memory, with lengths and single ranges; nothing else. What it serves it is handed through the
//! traits of `sources.rs`.

mod body;
mod cache;
mod io;
mod neighbour;
mod range;
mod routes;
mod sources;

pub use io::{BindError, Listen, Options, Server};
pub use routes::{Peer, Services, router};
pub use sources::{AgentArchive, BootVersion, Tokens, VersionFile, Versions};

#[cfg(test)]
mod tests;
