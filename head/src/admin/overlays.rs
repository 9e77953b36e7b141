//! What nodes would get now, and what those that run say that they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use wulfpack_shared::id::NodeName;
use wulfpack_shared::overlay::{Bundle, EntryKind};

use super::api::{NodeOverlays, RenderedFile, ReportRequest};
use super::server::{AdminServices, Failed, wrong};
use crate::overlay::Digest;
use crate::registry::{ImageRef, Node};

/// Every file that a node would get, with contents: as secret as they are.
pub(super) async fn of_node(
    State(services): State<AdminServices>,
    Path(name): Path<NodeName>,
) -> Result<Json<Vec<RenderedFile>>, Failed> {
    let snapshot = services.registry.look().await;
    let node = snapshot.node(&name).cloned().ok_or_else(|| wrong(format!("the registry has no node {name}")))?;
    let work = move || services.overlays.render(&node, &snapshot);
    let bundles = blocking(work).await?.map_err(wrong)?;
    Ok(Json(bundles.into_iter().flat_map(files).collect()))
}

fn files(bundle: Bundle) -> Vec<RenderedFile> {
    let Bundle { name, context, entries, .. } = bundle;
    let file = |entry: wulfpack_shared::overlay::Entry| {
        let (kind, text) = match entry.kind {
            EntryKind::File(bytes) => ("file", String::from_utf8_lossy(&bytes).into_owned()),
            EntryKind::Symlink(target) => ("link", target),
            EntryKind::Directory => ("directory", String::new()),
            EntryKind::Absent | EntryKind::Known { .. } | EntryKind::Packed { .. } => ("absent", String::new()),
        };
        RenderedFile {
            overlay: name.clone(),
            context,
            path: entry.path,
            kind: kind.into(),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            secret: entry.secret,
            text,
        }
    };
    entries.into_iter().map(file).collect()
}

/// Renders everything for these nodes, and says what it comes to beside what they run.
pub(super) async fn of_nodes(
    State(services): State<AdminServices>,
    Json(request): Json<ReportRequest>,
) -> Result<Json<Vec<NodeOverlays>>, Failed> {
    let snapshot = services.registry.look().await;
    let wanted: Vec<Arc<Node>> = match request.nodes {
        None => snapshot.nodes().cloned().collect(),
        Some(names) => names.iter().filter_map(|name| snapshot.node(name)).cloned().collect(),
    };
    let work = move || {
        let digests = services.overlays.digests(&wanted, &snapshot);
        let mut versions = BTreeMap::new();
        let mut answer = |(node, digest): (&Arc<Node>, Result<Digest, String>)| {
            let running = services.orders.state(&node.name);
            // Thousands of nodes have one image.
            let mut version = |image: &ImageRef| {
                let look = || services.images.header(image).ok().map(|header| header.id());
                *versions.entry(image.to_string()).or_insert_with(look)
            };
            NodeOverlays {
                node: node.name.clone(),
                system: digest.as_ref().ok().map(|digest| digest.system),
                runtime: digest.as_ref().ok().map(|digest| digest.runtime),
                bytes: digest.as_ref().map_or(0, |digest| digest.bytes as u64),
                error: digest.err(),
                image_now: node.image.as_ref().and_then(&mut version),
                running,
            }
        };
        wanted.iter().zip(digests).map(&mut answer).collect()
    };
    Ok(Json(blocking(work).await?))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    let failed = |error| Failed(StatusCode::INTERNAL_SERVER_ERROR, format!("rendering failed: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(failed)
}
