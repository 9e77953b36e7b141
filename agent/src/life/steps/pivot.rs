//! PID 1 moves into the root and becomes init; this process goes on beside it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use crate::life::context::{Context, StepError};
use crate::paths;
use crate::supervisor::{Channel, ToSupervisor};

pub(in crate::life) async fn pivot(context: &Arc<Context>, channel: &mut Option<Channel>) -> Result<(), StepError> {
    let init = {
        let left = context.left();
        left.membered.as_ref().context("the node has not joined")?.settings.init.clone()
    };
    context.say(format!("handing over to {init}"));
    let mut asked = channel.take().context("the supervisor is gone")?;
    let message = ToSupervisor::Pivot { root: PathBuf::from(paths::NEW_ROOT), init };
    let (asked, outcome) = tokio::task::spawn_blocking(move || {
        let outcome = asked.request(&message);
        (asked, outcome)
    })
    .await
    .map_err(StepError::again)?;
    *channel = Some(asked);
    outcome.map_err(|error| StepError::again(format!("the supervisor could not become init: {error}")))?;
    context.reporter.tell(wulfpack_shared::wire::ReportKind::Reached(wulfpack_shared::wire::Phase::Pivot));
    Ok(())
}
