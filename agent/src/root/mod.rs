//! The root file system: tmpfs, loop, squashfs, overlayfs, switch to the real init.
//!
//! `memory.rs` decides sizes (pure); the other files do one step each, in this order: `early.rs`, `blob.rs`,
//! `assemble.rs` (with `loopdev.rs`, `copy.rs`, `acls.rs`, `dirs.rs`), `finish.rs`, `switch.rs`.

mod acls;
mod assemble;
mod blob;
mod copy;
mod dirs;
mod early;
mod error;
mod finish;
mod image;
mod loopdev;
mod memory;
mod switch;
mod tmpfs;

pub use assemble::{Root, RootSpec, assemble};
pub use blob::{BlobDir, blob_bytes};
pub use early::mount_early;
pub use error::RootError;
pub use finish::finish;
pub use image::{MountedImage, mounted_image};
pub use memory::{Memory, MemoryPlan, RESERVE, TooLittleMemory, check_memory, memory};
pub use switch::{enter, exec_init, move_mounts, move_mounts_and_switch, switch};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
