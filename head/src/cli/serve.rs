//! `wulf serve`.

use std::process::ExitCode;

use super::Context;
use crate::exit::Exit;

/// Runs the head until it is told to stop.
pub fn serve(context: &Context) -> anyhow::Result<ExitCode> {
    crate::serve::serve(context.load_config()?)?;
    Ok(Exit::Ok.into())
}
