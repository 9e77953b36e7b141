//! Asking the running head.

use std::future::Future;

use crate::admin::{AdminClient, ClientError};
use crate::exit::{Ended, Exit};

use super::Context;

/// Runs `ask` with a client of the head that the configuration is of.
pub(super) fn ask<T, F>(context: &Context, ask: impl FnOnce(AdminClient) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let client = AdminClient::new(&context.load_config()?.paths.admin_socket());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(client)).map_err(|error| match error.downcast_ref() {
        Some(ClientError::NotRunning { .. }) => Ended::new(Exit::HeadUnreachable, format!("{error:#}")).into(),
        _ => error,
    })
}
