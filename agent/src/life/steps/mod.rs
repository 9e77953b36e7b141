//! The steps of a boot: one file a step. Each may run again after it failed, and finds what an earlier run left.

mod discover;
mod fetch;
mod hooks;
mod join;
mod link;
mod modules;
mod mount;
mod overlay;
mod pivot;
mod run;

pub(super) use fetch::fetch_progress;
pub use join::Membered;
pub(super) use join::flush_reports;
pub(super) use link::Linked;
pub(super) use link::{describe_links, link_lost};
pub(super) use mount::Rooted;
pub(super) use pivot::pivot;
pub(super) use run::run;
