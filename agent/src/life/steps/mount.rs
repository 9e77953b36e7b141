//! The root file system over the image that now lies in memory.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use wulfpack_shared::net::store::{BLOB_FILE, UnitStore as _};

use super::fetch::memory_plan;
use crate::life::context::{Context, StepError};
use crate::paths;
use crate::root::{BlobDir, RootSpec, assemble};

/// The assembled root.
#[derive(Debug)]
pub struct Rooted {
    /// The root directory, open: the worker enters it after the pivot.
    pub new_root: OwnedFd,
}

pub(super) async fn mount(context: &Arc<Context>) -> Result<(), StepError> {
    let (settings, store, header) = {
        let left = context.left();
        let membered = left.membered.as_ref().context("the node has not joined")?;
        (membered.settings.clone(), membered.store.clone(), membered.header.clone())
    };
    let store = store.context("the image is not in the swarm")?;
    context.doing(match settings.root {
        wulfpack_shared::wire::RootMode::Overlay => "squashfs below, memory above",
        wulfpack_shared::wire::RootMode::Tmpfs => "unpacking into memory",
    });
    let mounting = tokio::task::spawn_blocking(move || -> anyhow::Result<(Rooted, Vec<String>)> {
        // No write descriptor may be left, or the file system below the root could still be changed.
        store.seal().context("failed to close the image for writing")?;
        let dir = Path::new(paths::IMAGE);
        BlobDir::left(dir)?.context("the image's memory is gone")?.remount_ro()?;
        let blob = dir.join(BLOB_FILE);
        let spec = RootSpec {
            mode: settings.root,
            blob: &blob,
            memory: memory_plan(&header, &settings)?,
            newroot: Path::new(paths::NEW_ROOT),
            work: Path::new(paths::LAYERS),
            tmpfs_dirs: &settings.tmpfs_dirs,
        };
        let root = assemble(&spec)?;
        let new_root = std::fs::File::open(paths::NEW_ROOT).context("failed to open the new root")?;
        Ok((Rooted { new_root: new_root.into() }, root.notes))
    });
    let (rooted, notes) = mounting.await.map_err(StepError::again)??;
    for note in notes {
        context.say(note);
    }
    context.left().rooted = Some(rooted);
    Ok(())
}
