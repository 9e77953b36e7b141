//! Machines that no registry knows: shown, made nodes, forgotten.

use axum::Json;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use wulfpack_shared::id::{Mac, NodeName};
use wulfpack_shared::time::UnixTime;

use super::server::{AdminServices, Caller, Failed, WAIT, wrong};
use crate::discover::{AdoptError, Discovery};
use crate::store::{AuditRecord, Claim, PendingMachine};

/// Most machines that are made nodes at a time.
const ADOPT_MAX: usize = 10_000;

/// Answer to `GET /v1/discover?since=VERSION`: at once if something changed since, else after at most 20 s.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiscoverList {
    /// Hand it in as `since` to be told of the next change.
    pub version: u64,
    /// The head's time.
    pub now: UnixTime,
    /// Whether unknown machines boot into discovery in any network.
    pub on: bool,
    /// Machines that told what they are, who came first before the others.
    pub machines: Vec<DiscoveredMachine>,
    /// Machines that have become nodes and are not in the registry's file yet, by node.
    pub claims: Vec<Claim>,
}

/// A machine that told what it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiscoveredMachine {
    /// The node that it is, if it is one now.
    pub node: Option<NodeName>,
    /// What it told.
    #[serde(flatten)]
    pub machine: PendingMachine,
}

/// `POST /v1/adopt`: machines that become nodes; all of them, or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdoptRequest {
    /// Which machine becomes which node.
    pub pairs: Vec<(Mac, NodeName)>,
}

/// Its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdoptAnswer {
    /// How many.
    pub adopted: usize,
}

/// `POST /v1/discover/forget`: takes machines off the list, and what made these nodes a machine's, where the registry's file does not
/// say the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForgetRequest {
    /// Machines.
    pub macs: Vec<Mac>,
    /// Nodes.
    pub nodes: Vec<NodeName>,
}

/// Its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForgetAnswer {
    /// Machines that were on the list.
    pub machines: usize,
    /// Nodes that had a machine by adoption alone.
    pub nodes: usize,
}

#[derive(Deserialize)]
pub(super) struct Since {
    since: Option<u64>,
}

fn discovery(services: &AdminServices) -> Result<Discovery, Failed> {
    let off = || Failed(StatusCode::NOT_FOUND, "this head discovers no machines".into());
    services.discovery.clone().ok_or_else(off)
}

pub(super) async fn list(
    State(services): State<AdminServices>,
    Query(query): Query<Since>,
) -> Result<Json<DiscoverList>, Failed> {
    let discovery = discovery(&services)?;
    if let Some(since) = query.since {
        let mut changes = discovery.changes();
        // Nothing has changed if the time is over.
        let _over = timeout(WAIT, changes.wait_for(|version| *version != since)).await;
    }
    let snapshot = services.registry.look().await;
    let version = *discovery.changes().borrow();
    let mut machines: Vec<DiscoveredMachine> = discovery
        .machines()
        .into_iter()
        .map(|machine| DiscoveredMachine { node: snapshot.by_mac(machine.mac).map(|node| node.name.clone()), machine })
        .collect();
    machines.sort_by_key(|one| (one.machine.first, one.machine.mac));
    let (now, on, claims) = (services.clock.now(), discovery.is_on(), discovery.claims());
    Ok(Json(DiscoverList { version, now, on, machines, claims }))
}

pub(super) async fn adopt(
    State(services): State<AdminServices>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Json(request): Json<AdoptRequest>,
) -> Result<Json<AdoptAnswer>, Failed> {
    let discovery = discovery(&services)?;
    if request.pairs.len() > ADOPT_MAX {
        return Err(wrong(format!("at most {ADOPT_MAX} machines become nodes at a time")));
    }
    let snapshot = services.registry.look().await;
    let work = move || -> Result<usize, Failed> {
        for (mac, node) in &request.pairs {
            if let Some(owner) = snapshot.by_mac(*mac) {
                return Err(Failed(StatusCode::CONFLICT, format!("{mac} is node {}", owner.name)));
            }
            if snapshot.node(node).is_some_and(|node| node.vacancy().is_none()) {
                return Err(Failed(StatusCode::CONFLICT, format!("node {node} has a machine")));
            }
        }
        discovery.claim(&request.pairs, &who).map_err(|error| match error {
            AdoptError::Taken(_) => Failed(StatusCode::CONFLICT, error.to_string()),
            AdoptError::Store(error) => error.into(),
        })?;
        Ok(request.pairs.len())
    };
    let adopted = tokio::task::spawn_blocking(work).await.map_err(wrong)??;
    Ok(Json(AdoptAnswer { adopted }))
}

pub(super) async fn forget(
    State(services): State<AdminServices>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Json(request): Json<ForgetRequest>,
) -> Result<Json<ForgetAnswer>, Failed> {
    let discovery = discovery(&services)?;
    let work = move || -> Result<ForgetAnswer, Failed> {
        let claims = discovery.release(&request.nodes)?;
        let machines = discovery.forget(&request.macs)?;
        let mut detail: Vec<String> = request.macs.iter().map(ToString::to_string).collect();
        detail.extend(claims.iter().map(|claim| format!("{} is not {} any more", claim.mac, claim.node)));
        let (at, what) = (services.clock.now(), "discover-forget".to_owned());
        services.store.audit(&AuditRecord { at, who, what, detail: detail.join(", ") })?;
        Ok(ForgetAnswer { machines, nodes: claims.len() })
    };
    Ok(Json(tokio::task::spawn_blocking(work).await.map_err(wrong)??))
}
