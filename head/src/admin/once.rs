//! What nodes boot once: chosen, listed, taken back.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::NodeName;

use super::server::{AdminServices, Caller, Failed, wrong};
use crate::boot::Once;
use crate::once::OnceRecord;
use crate::store::AuditRecord;

/// `POST /v1/once`: what these nodes boot once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceRequest {
    /// Which nodes.
    pub nodes: Vec<NodeName>,
    /// What; nothing: what was chosen is taken back.
    pub choice: Option<Once>,
}

/// One of the answer to `GET /v1/once` and `POST /v1/once`: what is chosen now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceAnswer {
    /// The node.
    pub node: NodeName,
    /// The choice.
    #[serde(flatten)]
    pub record: OnceRecord,
}

pub(super) async fn all(State(services): State<AdminServices>) -> Json<Vec<OnceAnswer>> {
    Json(listed(&services))
}

fn listed(services: &AdminServices) -> Vec<OnceAnswer> {
    services.once.all().into_iter().map(|(node, record)| OnceAnswer { node, record }).collect()
}

pub(super) async fn choose(
    State(services): State<AdminServices>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Json(request): Json<OnceRequest>,
) -> Result<Json<Vec<OnceAnswer>>, Failed> {
    let snapshot = services.registry.look().await;
    if let Some(missing) = request.nodes.iter().find(|node| snapshot.node(node).is_none()) {
        return Err(Failed(StatusCode::NOT_FOUND, format!("there is no node {missing}")));
    }
    let at = services.clock.now();
    let work = move || {
        if let Some(image) = request.choice.as_ref().and_then(Once::image) {
            services.images.header(&image).map_err(|why| Failed(StatusCode::NOT_FOUND, why))?;
        }
        let names: Vec<&str> = request.nodes.iter().take(100).map(NodeName::as_str).collect();
        let what = request.choice.as_ref().map_or_else(|| "taken back".to_owned(), ToString::to_string);
        let detail = format!("{} nodes: {}: {what}", request.nodes.len(), names.join(","));
        // No choice without its record.
        services.store.audit(&AuditRecord { at, who: who.clone(), what: "boot-once".into(), detail })?;
        let record = request.choice.map(|choice| OnceRecord { choice, who, at, taken: None });
        services.once.choose(&request.nodes, record.as_ref())?;
        let mut answer = listed(&services);
        answer.retain(|answer| request.nodes.contains(&answer.node));
        Ok(answer)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(wrong(error))).map(Json)
}
