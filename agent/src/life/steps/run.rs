//! Which step is which file.

use std::sync::Arc;

use super::{discover, fetch, join, link, modules, mount, overlay};
use crate::life::context::{Context, StepError};
use crate::life::machine::Step;

/// Runs a step to its end. `Pivot` is the shell's own: it must not run beside anything.
pub(in crate::life) async fn run(context: &Arc<Context>, step: Step) -> Result<(), StepError> {
    match step {
        Step::Modules => modules::modules(context).await,
        Step::Link => link::link(context).await,
        Step::Discover => discover::discover(context).await,
        Step::Join => join::join(context).await,
        Step::Fetch => fetch::fetch(context).await,
        Step::Mount => mount::mount(context).await,
        Step::Overlay => overlay::overlay(context).await,
        Step::Pivot => Ok(()),
    }
}
