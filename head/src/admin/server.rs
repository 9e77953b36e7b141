//! The head's side: axum on a unix socket that only root and the head's own user can reach.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use axum::serve::IncomingStream;
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::timeout;
use wulfpack_shared::id::{NodeName, PublicKey};
use wulfpack_shared::identity::{HeadAddr, Ticket};
use wulfpack_shared::net::clock::ClusterClock;

use super::api::{
    DhcpOverride, DhcpStatus, HeadStatus, KeyInfo, Problem, ReportRequest, Status, TicketAnswer, TicketFor,
    TicketRequest, UnknownMachine,
};
use super::who::user_name;
use super::{actions, discover, events, orders, overlays};
use crate::config::ClusterKeys;
use crate::discover::Discovery;
use crate::fleet::{BootReport, FleetHandle, LogLine, NodeStatus, VersionUse};
use crate::join::{Images, Overlays, Registry, TokenMaker};
use crate::once::OnceBook;
use crate::orders::OrdersHandle;
use crate::registry::ImageRef;
use crate::store::{AuditRecord, Store};
use crate::trace::TraceHandle;

/// Longest that a request waits for a change.
pub(super) const WAIT: Duration = Duration::from_secs(20);
/// Changes that come quicker than this are shown together.
const CALM: Duration = Duration::from_millis(200);
/// Most events, or audit records, of one answer.
pub(super) const EVENTS_MAX: usize = 1000;

/// What the rest of the head says of itself.
pub trait HeadFacts: Send + Sync + Debug {
    /// Its status now.
    fn status(&self) -> HeadStatus;
    /// Image versions that running nodes use, and those that have a swarm.
    fn versions_in_use(&self) -> Vec<VersionUse>;
    /// Which services answer, and what keeps DHCP from it.
    fn dhcp(&self) -> DhcpStatus;
    /// From now on the cluster has these keys; the error is for a person.
    fn replace_keys(&self, keys: ClusterKeys) -> Result<(), String>;
    /// Whether DHCP answers even where another server does; the error is for a person.
    fn override_dhcp(&self, on: bool) -> Result<(), String>;
}

/// What the service answers from.
#[derive(Clone, Debug)]
pub struct AdminServices {
    /// The head.
    pub facts: Arc<dyn HeadFacts>,
    /// Boots.
    pub fleet: FleetHandle,
    /// Packets of the last boots.
    pub trace: TraceHandle,
    /// What running nodes are told.
    pub orders: OrdersHandle,
    /// What nodes boot once.
    pub once: OnceBook,
    /// Logs, events, audit.
    pub store: Arc<dyn Store>,
    /// The registry.
    pub registry: Arc<dyn Registry>,
    /// Overlays.
    pub overlays: Arc<dyn Overlays>,
    /// Image versions.
    pub images: Arc<dyn Images>,
    /// Makes tickets.
    pub tokens: TokenMaker,
    /// The head's time.
    pub clock: ClusterClock,
    /// The cluster's keys.
    pub cluster: watch::Receiver<Arc<ClusterKeys>>,
    /// This head's key.
    pub head: PublicKey,
    /// Where the control plane listens.
    pub control: Vec<SocketAddr>,
    /// Machines that no registry knows.
    pub discovery: Option<Discovery>,
}

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another head answers there.
    #[error("a head already answers at {0}: is `wulf serve` running?")]
    InUse(PathBuf),
    /// The system says no.
    #[error("cannot listen at {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An open socket.
#[derive(Debug)]
pub struct AdminServer(UnixListener);

impl AdminServer {
    /// Opens the socket, mode 0600, in a directory that is made 0750 if it is missing; inside a tokio runtime.
    pub fn bind(path: &Path) -> Result<Self, AdminError> {
        let fail = |source| AdminError::Io { path: path.into(), source };
        let dir = path.parent().unwrap_or(Path::new("/"));
        crate::config::create_dir(dir, 0o750).map_err(fail)?;
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(AdminError::InUse(path.into())),
            // Left behind by a head that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(fail)?,
            Err(_) => {}
        }
        // Opened under a name that nobody looks at, so that it is never there with other permissions.
        let hidden = path.with_extension("new");
        fs::remove_file(&hidden)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(fail)?;
        let listener = UnixListener::bind(&hidden).map_err(fail)?;
        fs::set_permissions(&hidden, Permissions::from_mode(0o600)).map_err(fail)?;
        fs::rename(&hidden, path).map_err(fail)?;
        Ok(Self(listener))
    }

    /// Answers until dropped.
    pub async fn run(self, services: AdminServices) -> io::Result<()> {
        axum::serve(self.0, router(services).into_make_service_with_connect_info::<Caller>()).await
    }
}

/// Who asks: the system user at the other end.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) String);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let name = stream.io().peer_cred().map_or_else(|_| "unknown".into(), |cred| user_name(cred.uid()));
        Self(name)
    }
}

fn router(services: AdminServices) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/report", get(report).post(report_of))
        .route("/v1/log/{node}", get(log))
        .route("/v1/events", get(events::events))
        .route("/v1/audit", get(audits))
        .route("/v1/versions", get(versions))
        .route("/v1/ticket", post(ticket))
        .route("/v1/approve", post(actions::approve))
        .route("/v1/once", get(super::once::all).post(super::once::choose))
        .route("/v1/overlays", post(overlays::of_nodes))
        .route("/v1/overlays/{node}", get(overlays::of_node))
        .route("/v1/orders", post(orders::give))
        .route("/v1/orders/{id}", get(orders::progress))
        .route("/v1/discover", get(discover::list))
        .route("/v1/adopt", post(discover::adopt))
        .route("/v1/discover/forget", post(discover::forget))
        .route("/v1/key/record", post(actions::record_key_deed))
        .route("/v1/dhcp", get(dhcp_status))
        .route("/v1/trace/{who}", get(super::trace::trace))
        .route("/v1/dhcp/leases", get(actions::leases))
        .route("/v1/dhcp/override", post(dhcp_override))
        .route("/v1/key", get(key).post(actions::change_keys))
        .with_state(services)
}

/// An answer that is not 2xx.
pub(super) struct Failed(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<crate::store::StoreError> for Failed {
    fn from(error: crate::store::StoreError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

pub(super) fn wrong(why: impl ToString) -> Failed {
    Failed(StatusCode::BAD_REQUEST, why.to_string())
}

#[derive(Deserialize)]
struct Since {
    since: Option<u64>,
}

async fn status(State(services): State<AdminServices>, Query(query): Query<Since>) -> Json<Status> {
    if let Some(since) = query.since {
        let mut changes = services.fleet.changes();
        if timeout(WAIT, changes.wait_for(|version| *version != since)).await.is_ok() {
            tokio::time::sleep(CALM).await;
        }
    }
    let snapshot = services.registry.look().await;
    let (version, nodes, unknown) = services.fleet.look(|fleet| {
        let last = |name: &NodeName| fleet.of(name).next_back();
        let node = |name: &NodeName| last(name).map_or_else(|| NodeStatus::unseen(name.clone()), NodeStatus::of);
        let nodes = snapshot.nodes().map(|known| node(&known.name)).collect();
        let stranger = |(mac, seen): (&_, &crate::fleet::Unknown)| UnknownMachine {
            mac: *mac,
            last: seen.last,
            count: seen.count,
        };
        (fleet.version(), nodes, fleet.unknown().iter().map(stranger).collect())
    });
    Json(Status { version, now: services.clock.now(), head: services.facts.status(), nodes, unknown })
}

async fn report(State(services): State<AdminServices>) -> Json<BootReport> {
    report_of(State(services), Json(ReportRequest { nodes: None, boots: 1 })).await
}

async fn report_of(State(services): State<AdminServices>, Json(request): Json<ReportRequest>) -> Json<BootReport> {
    let wanted: Option<BTreeSet<NodeName>> = request.nodes.map(|nodes| nodes.into_iter().collect());
    let images = services.facts.status().images;
    Json(services.fleet.look(|fleet| {
        let names = fleet.latest().map(|boot| &boot.node);
        let names = names.filter(|name| wanted.as_ref().is_none_or(|wanted| wanted.contains(*name)));
        // The last one of each node first.
        let boots: Vec<_> = names.flat_map(|name| fleet.of(name).rev().take(request.boots)).collect();
        BootReport::of(boots, images)
    }))
}

#[derive(Deserialize)]
struct Boot {
    /// 0 or nothing: the last boot; 1: the one before.
    boot: Option<usize>,
}

async fn log(
    State(services): State<AdminServices>,
    UrlPath(node): UrlPath<NodeName>,
    Query(query): Query<Boot>,
) -> Result<Json<Vec<LogLine>>, Failed> {
    let back = query.boot.unwrap_or(0);
    let started = services.fleet.look(|fleet| fleet.of(&node).rev().nth(back).map(|boot| boot.started));
    let Some(started) = started else {
        let text = format!("the head knows of no {}boot of node {node}", if back > 0 { "such " } else { "" });
        return Err(Failed(StatusCode::NOT_FOUND, text));
    };
    Ok(Json(services.store.log(&node, started)?))
}

#[derive(Deserialize)]
struct Count {
    count: Option<usize>,
}

async fn audits(
    State(services): State<AdminServices>,
    Query(query): Query<Count>,
) -> Result<Json<Vec<AuditRecord>>, Failed> {
    Ok(Json(services.store.audits(query.count.unwrap_or(50).min(EVENTS_MAX))?))
}

async fn ticket(
    State(services): State<AdminServices>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Json(request): Json<TicketRequest>,
) -> Result<Json<TicketAnswer>, Failed> {
    let (now, life) = (services.clock.now(), Duration::from_secs(request.life_s));
    let (token, whom) = match request.subject {
        TicketFor::Node(node) => {
            if services.registry.look().await.node(&node).is_none() {
                return Err(Failed(StatusCode::NOT_FOUND, format!("there is no node {node}")));
            }
            (services.tokens.for_ticket(node.clone(), life, now).map_err(wrong)?, format!("node {node}"))
        }
        TicketFor::Anonymous { image, count } => {
            let images = Arc::clone(&services.images);
            let asked = ImageRef { name: image.clone(), version: None };
            let found = tokio::task::spawn_blocking(move || images.header(&asked).map(drop)).await;
            found.map_err(wrong)?.map_err(|why| Failed(StatusCode::NOT_FOUND, why))?;
            let whom = format!("{count} hosts, image {image}");
            (services.tokens.anonymous(image, count, life, now).map_err(wrong)?, whom)
        }
    };
    let detail = format!("{whom}, good for {} s", request.life_s);
    // No ticket without its record.
    services.store.audit(&AuditRecord { at: now, who, what: "ticket".into(), detail })?;
    let heads = services.control.iter().map(|control| HeadAddr { key: services.head, control: *control }).collect();
    let cluster = services.cluster.borrow().trusted(now);
    let ticket = Ticket { heads, cluster, token }.to_string();
    Ok(Json(TicketAnswer { ticket, expires: now + life }))
}

async fn versions(State(services): State<AdminServices>) -> Json<Vec<VersionUse>> {
    Json(services.facts.versions_in_use())
}

async fn dhcp_status(State(services): State<AdminServices>) -> Json<DhcpStatus> {
    Json(services.facts.dhcp())
}

async fn dhcp_override(
    State(services): State<AdminServices>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Json(request): Json<DhcpOverride>,
) -> Result<Json<DhcpOverride>, Failed> {
    services.facts.override_dhcp(request.on).map_err(wrong)?;
    let detail = if request.on { "answer beside other servers" } else { "stand back for other servers" }.into();
    services.store.audit(&AuditRecord { at: services.clock.now(), who, what: "dhcp-override".into(), detail })?;
    Ok(Json(request))
}

async fn key(State(services): State<AdminServices>) -> Json<KeyInfo> {
    Json(key_info(&services))
}

pub(super) fn key_info(services: &AdminServices) -> KeyInfo {
    let keys = services.cluster.borrow();
    let (cluster, trusted) = (keys.public(), keys.trusted(services.clock.now()));
    KeyInfo { cluster, trusted, head: services.head, control: services.control.clone() }
}
