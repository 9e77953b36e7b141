//! The four paths and who may have what.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use tokio::sync::watch;
use wulfpack_shared::id::{Mac, NodeName, VersionId};
use wulfpack_shared::limits::TOKEN_LIFETIME;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::Phase;

use super::body::CountedBody;
use super::cache::{FileCache, LoadError};
use super::neighbour;
use super::range::{Wanted, wanted};
use super::sources::{AgentArchive, Tokens, VersionFile, Versions};
use crate::boot::{BootPlan, HeadSettings, InitramfsFormat, Visit, boot_script, choose_kernel, waiting_script};
use crate::config::TokenEvidence;
use crate::dhcp::Evidence;
use crate::fleet::{BootEvent, BootEvents};
use crate::registry::{Node, Snapshot};

/// Most bytes of kernels and modules that are kept in memory: a few versions with a few kernels each.
const CACHE_MAX: usize = 512 * 1024 * 1024;

/// What the service needs of the rest of the head.
#[derive(Clone, Debug)]
pub struct Services {
    /// The nodes.
    pub nodes: watch::Receiver<Arc<Snapshot>>,
    /// What the head says to every node; changes when keys are rotated.
    pub head: watch::Receiver<Arc<HeadSettings>>,
    /// What the DHCP server gave to whom.
    pub evidence: Evidence,
    /// Where events go.
    pub events: Arc<dyn BootEvents>,
    /// Image versions.
    pub versions: Arc<dyn Versions>,
    /// Join tokens.
    pub tokens: Arc<dyn Tokens>,
    /// The agent.
    pub agent: Arc<dyn AgentArchive>,
}

/// The two ends of a connection; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The machine.
    pub remote: SocketAddr,
    /// Our address, as the machine knows it.
    pub local: SocketAddr,
    /// What tokens are given on at that address.
    pub proof: TokenEvidence,
}

#[derive(Debug)]
struct Shared {
    services: Services,
    files: FileCache,
}

type Reply = Response<Body>;

/// The service; requests need a [`Peer`] extension.
pub fn router(services: Services) -> Router {
    let shared = Arc::new(Shared { services, files: FileCache::new(CACHE_MAX) });
    Router::new()
        .route("/boot/{mac}/script.ipxe", get(script))
        .route("/boot/{mac}/token", get(token))
        .route("/files/{version}/{release}/{file}", get(file))
        .route("/agent/{format}", get(agent))
        .with_state(shared)
}

async fn script(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(mac): Path<String>,
    method: Method,
) -> Reply {
    let Ok(mac) = mac.parse::<Mac>() else { return refusal(StatusCode::NOT_FOUND, "this is not a MAC address") };
    let node = shared.node(mac);
    let (text, event) = match shared.boot(peer, mac, node.as_deref()).await {
        Ok((text, detail)) => (Ok(text), Some(shared.event(Phase::Script, mac, peer, detail))),
        Err(reason) => {
            match &node {
                Some(node) => tracing::warn!(node = %node.name, %mac, %reason, "the node waits at its boot script"),
                None => tracing::debug!(%mac, %reason, "boot script asked for by an unknown machine"),
            }
            (waiting_script(peer.local, mac, &reason), None)
        }
    };
    match text {
        Ok(text) => {
            let mut reply = send(&method, &HeaderMap::new(), text.into(), &shared, event);
            set(&mut reply, header::CONTENT_TYPE, "text/plain; charset=utf-8");
            set(&mut reply, header::CACHE_CONTROL, "no-store");
            reply
        }
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn token(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(mac): Path<String>,
    method: Method,
) -> Reply {
    let Ok(mac) = mac.parse::<Mac>() else { return refusal(StatusCode::NOT_FOUND, "this is not a MAC address") };
    let Some(node) = shared.node(mac) else { return refusal(StatusCode::NOT_FOUND, "no node has this MAC address") };
    if method == Method::HEAD {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let work = {
        let (shared, name) = (Arc::clone(&shared), node.name.clone());
        move || {
            let shown = shared.proven(peer, mac, &name);
            let token = shown.and_then(|shown| shared.services.tokens.token(&name, mac, shown));
            token.inspect_err(|why| shared.services.tokens.refused(&name, peer.remote.ip().to_canonical(), why))
        }
    };
    let made = tokio::task::spawn_blocking(work).await;
    let mut reply = match made.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(archive) => send(&method, &HeaderMap::new(), archive.into(), &shared, None),
        Err(reason) => {
            tracing::warn!(node = %node.name, %mac, remote = %peer.remote.ip(), %reason, "no join token");
            refusal(StatusCode::FORBIDDEN, &reason)
        }
    };
    set(&mut reply, header::CACHE_CONTROL, "no-store");
    reply
}

async fn file(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path((version, release, name)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Reply {
    let found = [VersionFile::Kernel, VersionFile::Modules].into_iter().find(|file| file.name() == name);
    let (Ok(version), Some(file)) = (version.parse::<VersionId>(), found) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such file");
    };
    match shared.read(version, &release, file).await {
        Ok(bytes) => {
            let event = shared.kernel_event(peer, format!("{name} {release}"));
            send(&method, &headers, bytes, &shared, event)
        }
        Err(LoadError::Missing) => refusal(StatusCode::NOT_FOUND, "no kept image version has this file"),
        Err(LoadError::Failed(reason)) => {
            tracing::error!(%version, release, name, %reason, "file of an image version");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, &reason)
        }
    }
}

async fn agent(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(format): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Reply {
    let format: InitramfsFormat = match format.parse() {
        Ok(format) => format,
        Err(why) => return refusal(StatusCode::NOT_FOUND, why),
    };
    let source = Arc::clone(&shared.services.agent);
    let packed = tokio::task::spawn_blocking(move || source.archive(format)).await;
    match packed.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(bytes) => send(&method, &headers, bytes, &shared, shared.kernel_event(peer, "agent".into())),
        Err(reason) => {
            tracing::error!(%reason, "the agent's archive");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, &reason)
        }
    }
}

impl Shared {
    fn node(&self, mac: Mac) -> Option<Arc<Node>> {
        self.services.nodes.borrow().by_mac(mac).cloned()
    }

    /// The script that boots the node, and what it boots; else what the machine waits for.
    async fn boot(&self, peer: Peer, mac: Mac, node: Option<&Node>) -> Result<(String, String), String> {
        let Some(node) = node else {
            return Err(format!("no node has the MAC address {mac}: \"wulf node add\" makes this machine one"));
        };
        let Some(image) = node.image.clone() else {
            return Err(format!("node {0} has no image: \"wulf node set {0} --image NAME\" gives it one", node.name));
        };
        let versions = Arc::clone(&self.services.versions);
        let version = tokio::task::spawn_blocking(move || versions.active(&image)).await;
        let version = version.unwrap_or_else(|error| Err(error.to_string()))?;
        let release = choose_kernel(node, &version.header).map_err(|error| error.to_string())?.version.clone();
        let modules = self.read(version.id, &release, VersionFile::Modules).await.map_err(|error| match error {
            LoadError::Missing => format!("image version {:.12} has no modules for kernel {release}", version.id),
            LoadError::Failed(reason) => reason,
        })?;
        let visit = Visit {
            node,
            mac,
            version: version.id,
            header: &version.header,
            format: InitramfsFormat::of(&modules).unwrap_or(InitramfsFormat::Plain),
            base: peer.local,
            now: wall_clock(),
        };
        let head = Arc::clone(&self.services.head.borrow());
        let plan = BootPlan::new(&head, &visit).map_err(|error| error.to_string())?;
        let script = boot_script(&plan).map_err(|error| error.to_string())?;
        if peer.proof == TokenEvidence::Approve {
            // Asked here already, and last: a machine that cannot boot for another reason waits for that.
            self.approved(peer, mac, &node.name).await?;
        }
        Ok((script, format!("{}, kernel {}", plan.image, plan.release)))
    }

    async fn read(&self, version: VersionId, release: &str, file: VersionFile) -> Result<Bytes, LoadError> {
        let versions = Arc::clone(&self.services.versions);
        let release = release.to_owned();
        let key = (version, release.clone(), file);
        let load = move || {
            let mut bytes = versions.read(version, &release, file)?;
            // Archives are put together without a gap by some loaders, and the next must begin at a multiple of four.
            if let (Some(bytes), VersionFile::Modules) = (&mut bytes, file) {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            Ok(bytes)
        };
        self.files.get(key, load).await
    }

    /// Whether the machine at the other end is the one it says it is, as far as this network demands (REAL-CLUSTERS, rule 9); and
    /// how long ago it showed that it boots, where it had to.
    fn proven(&self, peer: Peer, mac: Mac, node: &NodeName) -> Result<Option<Duration>, String> {
        let IpAddr::V4(address) = peer.remote.ip().to_canonical() else {
            return Err(format!("{} is not an IPv4 address: tokens are given by IPv4 only", peer.remote.ip()));
        };
        match peer.proof {
            TokenEvidence::Dhcp => match self.services.evidence.age(mac, address, Instant::now()) {
                Some(age) if age <= TOKEN_LIFETIME => Ok(Some(age)),
                Some(age) => Err(format!("{address} was given to {mac} {} s ago: ask by DHCP again", age.as_secs())),
                None => Err(format!(
                    "this head's DHCP server has not given {address} to a boot loader of {mac}: boot it again"
                )),
            },
            TokenEvidence::Neighbour => match neighbour::mac_of(address) {
                Some(found) if found == mac => Ok(None),
                _ => Err(format!("the neighbour table of this head does not have {mac} at {address}")),
            },
            TokenEvidence::Approve => self.services.tokens.approved(node, mac, address.into()).map(|()| None),
        }
    }

    async fn approved(&self, peer: Peer, mac: Mac, node: &NodeName) -> Result<(), String> {
        let (tokens, node, from) = (Arc::clone(&self.services.tokens), node.clone(), peer.remote.ip().to_canonical());
        let asked = tokio::task::spawn_blocking(move || tokens.approved(&node, mac, from)).await;
        asked.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn event(&self, phase: Phase, mac: Mac, peer: Peer, detail: String) -> BootEvent {
        let node = self.node(mac).map(|node| node.name.clone());
        BootEvent { mac, node, phase, ip: Some(peer.remote.ip()), detail, bytes: 0 }
    }

    /// Files are asked for without a name: the machine is known by its address.
    fn kernel_event(&self, peer: Peer, detail: String) -> Option<BootEvent> {
        let ip = peer.remote.ip().to_canonical();
        let given = if let IpAddr::V4(address) = ip { self.services.evidence.mac_of(address) } else { None };
        let mac = given.or_else(|| {
            let nodes = self.services.nodes.borrow();
            let mut interfaces = nodes.nodes().flat_map(|node| &node.interfaces);
            interfaces.find(|interface| interface.ip == Some(ip)).and_then(|interface| interface.mac)
        })?;
        Some(self.event(Phase::Kernel, mac, peer, detail))
    }
}

/// GET or HEAD of bytes in memory, whole or one range; records the event, if there is one, when all is sent or the client is gone.
fn send(method: &Method, headers: &HeaderMap, bytes: Bytes, shared: &Shared, event: Option<BootEvent>) -> Reply {
    let whole = bytes.len();
    // We give out no validators, so a conditional range is one whose condition does not hold (RFC 9110, section 13.1.5).
    let range = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
    let asked = range.and_then(|value| value.to_str().ok()).filter(|_| method == Method::GET);
    let (status, part, range) = match asked.map_or(Wanted::Whole, |value| wanted(value, whole)) {
        Wanted::Whole => (StatusCode::OK, bytes, None),
        Wanted::Part(part) => {
            let range = format!("bytes {}-{}/{whole}", part.start, part.end - 1);
            (StatusCode::PARTIAL_CONTENT, bytes.slice(part), Some(range))
        }
        Wanted::Outside => (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(format!("bytes */{whole}"))),
    };
    let len = part.len();
    let body = match event.filter(|_| method == Method::GET && len > 0) {
        Some(mut event) => {
            let events = Arc::clone(&shared.services.events);
            Body::new(CountedBody::new(part, move |sent| {
                event.bytes = sent;
                if sent < whole as u64 {
                    event.detail = format!("{}: {sent} of {whole} bytes", event.detail);
                }
                events.record(event);
            }))
        }
        None if method == Method::HEAD => Body::empty(),
        None => Body::from(part),
    };
    let mut reply = Reply::new(body);
    *reply.status_mut() = status;
    set(&mut reply, header::CONTENT_TYPE, "application/octet-stream");
    set(&mut reply, header::ACCEPT_RANGES, "bytes");
    reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    if let Some(range) = range {
        set(&mut reply, header::CONTENT_RANGE, &range);
    }
    reply
}

fn refusal(status: StatusCode, reason: &str) -> Reply {
    let mut reply = Reply::new(Body::from(format!("{reason}\n")));
    *reply.status_mut() = status;
    set(&mut reply, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    reply
}

fn set(reply: &mut Reply, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

fn wall_clock() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
