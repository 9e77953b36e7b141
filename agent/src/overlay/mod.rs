//! Applying overlays inside the new root.
//!
//! `resolve.rs` finds directories without ever leaving the root, `apply.rs` puts entries in place. `record.rs` remembers what was
//! applied, and `update.rs` goes from there to what the head has now, in the running system.

mod apply;
mod record;
mod remove;
mod resolve;
mod update;

pub(crate) use apply::apply_entries;
pub use apply::{Applied, ApplyError, apply};
pub use record::Record;
pub(crate) use remove::{Removed, remove_below};
pub(crate) use resolve::RootDir;
pub use update::{Updated, known, update};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod update_tests;
