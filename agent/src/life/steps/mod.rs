//! The steps of a boot: one file a step. Each may run again after it failed, and finds what an earlier run left.

mod fetch;
mod join;
mod link;
mod modules;
mod mount;
mod overlay;
mod pivot;

use std::sync::Arc;

pub(super) use fetch::fetch_progress;
pub use join::Membered;
pub(super) use join::flush_reports;
pub(super) use link::Linked;
pub(super) use link::{describe_links, link_lost};
pub(super) use mount::Rooted;
pub(super) use pivot::pivot;

use super::context::{Context, StepError};
use super::machine::Step;

/// Runs a step to its end. `Pivot` is the shell's own: it must not run beside anything.
pub(super) async fn run(context: &Arc<Context>, step: Step) -> Result<(), StepError> {
    match step {
        Step::Modules => modules::modules(context).await,
        Step::Link => link::link(context).await,
        Step::Join => join::join(context).await,
        Step::Fetch => fetch::fetch(context).await,
        Step::Mount => mount::mount(context).await,
        Step::Overlay => overlay::overlay(context).await,
        Step::Pivot => Ok(()),
    }
}
