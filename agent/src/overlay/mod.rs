//! Applying overlays inside the new root.
//!
//! `resolve.rs` finds directories without ever leaving the root, `apply.rs` puts entries in place.

mod apply;
mod remove;
mod resolve;

pub(crate) use apply::apply_entries;
pub use apply::{Applied, ApplyError, apply};
pub(crate) use remove::{Removed, remove_below};
pub(crate) use resolve::RootDir;

#[cfg(test)]
mod tests;
