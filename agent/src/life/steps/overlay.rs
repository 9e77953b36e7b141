//! What makes the root this node's: overlays, identity, host name.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::join::forget_token;
use crate::life::context::{Context, StepError};
use crate::overlay::{Record, apply};
use crate::paths;
use crate::root::finish;

pub(super) async fn overlay(context: &Arc<Context>) -> Result<(), StepError> {
    let settings = {
        let left = context.left();
        left.membered.as_ref().context("the node has not joined")?.settings.clone()
    };
    let applying = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<String>> {
        let root = Path::new(paths::NEW_ROOT);
        let mut lines = vec![];
        for bundle in &settings.overlays {
            apply(root, bundle)?;
            lines.push(format!("{} ({} entries)", bundle.name, bundle.entries.len()));
        }
        let record = Record::of(&settings.overlays).save(Path::new(paths::OVERLAYS));
        record.context("failed to write down what was applied")?;
        finish(root, &settings)?;
        Ok(lines)
    });
    let applied = applying.await.map_err(StepError::again)??;
    context.say(format!("overlays applied: {}", applied.join(", ")));
    forget_token();
    Ok(())
}
