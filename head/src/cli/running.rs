//! Asking the running head.

use std::future::Future;

use crate::admin::{AdminClient, ClientError};
use crate::exit::{Ended, Exit};
use crate::registry::expand;

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

/// Node names as a query, from names such as n1 or n[1-4]; empty for all.
pub(super) fn nodes_query(names: &[String]) -> anyhow::Result<Option<String>> {
    let names = expand(names).map_err(|error| Ended::new(Exit::Usage, error.to_string()))?;
    Ok((!names.is_empty()).then(|| names.join(",")))
}
