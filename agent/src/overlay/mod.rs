//! Applying overlays inside the new root.
//!
//! `resolve.rs` finds directories without ever leaving the root, `apply.rs` puts entries in place. `record.rs` remembers what was
//! applied, and `update.rs` goes from there to what the head has now, in the running system. `unpack.rs` takes contents apart as they
//! came.

mod apply;
mod record;
mod remove;
mod resolve;
mod unpack;
mod update;

pub(crate) use apply::apply_entries;
pub use apply::{Applied, ApplyError, apply};
pub use record::{Due, Record};
pub(crate) use remove::{Removed, remove_below};
pub(crate) use resolve::RootDir;
pub use unpack::{UnpackError, unpack};
pub use update::{Updated, known, update};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod update_tests;
