//! What makes the root this node's: overlays, identity, host name.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use wulfpack_shared::overlay::Context as Applying;
use wulfpack_shared::wire::NodeSettings;

use super::hooks::{self, Stage};
use super::join::forget_token;
use crate::life::context::{Context, StepError};
use crate::overlay::{Record, apply};
use crate::paths;
use crate::root::finish;

pub(super) async fn overlay(context: &Arc<Context>) -> Result<(), StepError> {
    let settings = {
        let left = context.left();
        Arc::new(left.membered.as_ref().context("the node has not joined")?.settings.clone())
    };
    let mut applied = put(&settings, Applying::System).await?;
    hooks::run(context, Stage::BeforeRoot).await?;
    applied.extend(put(&settings, Applying::Runtime).await?);
    hooks::run(context, Stage::BeforeInit).await?;
    context.say(format!("overlays applied: {}", applied.join(", ")));
    forget_token();
    Ok(())
}

/// Applies the overlays of one kind; after the last of them the root is this node's.
async fn put(settings: &Arc<NodeSettings>, which: Applying) -> Result<Vec<String>, StepError> {
    let settings = Arc::clone(settings);
    let applying = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<String>> {
        let root = Path::new(paths::NEW_ROOT);
        let mut lines = vec![];
        for bundle in settings.overlays.iter().filter(|bundle| bundle.context == which) {
            apply(root, bundle)?;
            lines.push(format!("{} ({} entries)", bundle.name, bundle.entries.len()));
        }
        if which == Applying::Runtime {
            let record = Record::of(&settings.overlays).save(Path::new(paths::OVERLAYS));
            record.context("failed to write down what was applied")?;
            finish(root, &settings)?;
        }
        Ok(lines)
    });
    Ok(applying.await.map_err(StepError::again)??)
}
