//! Orders to running nodes, and how they go.

use axum::Json;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use wulfpack_shared::id::NodeName;

use super::api::{OrdersAnswer, OrdersRequest};
use super::server::{AdminServices, Caller, Failed, WAIT, wrong};
use crate::nodeset::NodeSet;
use crate::orders::Progress;
use crate::store::AuditRecord;

/// Tells nodes to do something. That they were told is recorded first.
pub(super) async fn give(
    State(services): State<AdminServices>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Json(request): Json<OrdersRequest>,
) -> Result<Json<OrdersAnswer>, Failed> {
    let snapshot = services.registry.look().await;
    if let Some(unknown) = request.nodes.iter().find(|name| snapshot.node(name).is_none()) {
        return Err(wrong(format!("the registry has no node {unknown}")));
    }
    let nodes: NodeSet = request.nodes.iter().collect();
    let detail = format!("{:?}: {nodes}", request.what);
    services.store.audit(&AuditRecord { at: services.clock.now(), who, what: "order".into(), detail })?;
    let id = services.orders.give(
        request.nodes.into_iter().collect::<std::collections::BTreeSet<NodeName>>(),
        request.what,
        request.pace,
    );
    Ok(Json(OrdersAnswer { id }))
}

#[derive(Deserialize)]
pub(super) struct Since {
    since: Option<u64>,
}

/// Where a batch stands: at once, or when it is newer than version `since`.
pub(super) async fn progress(
    State(services): State<AdminServices>,
    Path(id): Path<u64>,
    Query(query): Query<Since>,
) -> Result<Json<Progress>, Failed> {
    let progress = match query.since {
        Some(since) => services.orders.progress_after(id, since, WAIT).await,
        None => services.orders.progress(id),
    };
    let lost = "the head does not know these orders: it was started again, and has forgotten them";
    progress.map(Json).ok_or_else(|| Failed(StatusCode::NOT_FOUND, lost.into()))
}
