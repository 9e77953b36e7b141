//! The paths, and the form of the answers. Who may have what, `desk.rs` says.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use wulfpack_shared::bootargs::NEIGHBOUR_HEADER;
use wulfpack_shared::id::{Mac, VersionId};

use super::body::CountedBody;
use super::desk::{Desk, Handout, Peer, Refusal};
use super::range::{Wanted, wanted};
use super::sources::VersionFile;
use crate::boot::{InitramfsFormat, Loader, SignedLoader};
use crate::fleet::BootEvent;

type Reply = Response<Body>;
type Shared = State<Arc<Desk>>;

const TEXT: &str = "text/plain; charset=utf-8";
/// What UEFI HTTP boot starts as a program, whatever its name is (EDK2, HttpBootSupport.c).
const EFI: &str = "application/efi";
const BYTES: &str = "application/octet-stream";
const NO_MAC: &str = "this is not a MAC address";
const NO_FILE: &str = "there is no such file";

/// The service; requests need a [`Peer`] extension.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/boot/{mac}/script.ipxe", get(script))
        .route("/boot/{mac}/token", get(token))
        .route("/files/{version}/{release}/{file}", get(file))
        .route("/agent/{format}", get(agent))
        .route("/nbp/{*name}", get(program))
        .route("/grub/grub.cfg", get(grub))
        .route("/grub/{mac}/{file}", get(grub_file))
        .with_state(desk)
}

async fn script(
    State(desk): Shared,
    Extension(peer): Extension<Peer>,
    Path(mac): Path<String>,
    method: Method,
) -> Reply {
    let Ok(mac) = mac.parse::<Mac>() else { return refusal(StatusCode::NOT_FOUND, NO_MAC) };
    fresh(answer(&desk, &method, &HeaderMap::new(), TEXT, desk.script(Loader::Ipxe, peer, mac).await))
}

async fn token(
    State(desk): Shared,
    Extension(peer): Extension<Peer>,
    Path(mac): Path<String>,
    method: Method,
) -> Reply {
    let Ok(mac) = mac.parse::<Mac>() else { return refusal(StatusCode::NOT_FOUND, NO_MAC) };
    if method == Method::HEAD {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    fresh(answer(&desk, &method, &HeaderMap::new(), BYTES, desk.token(peer, mac).await))
}

async fn file(
    State(desk): Shared,
    Extension(peer): Extension<Peer>,
    Path((version, release, name)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Reply {
    let (Ok(version), Some(file)) = (version.parse::<VersionId>(), VersionFile::named(&name)) else {
        return refusal(StatusCode::NOT_FOUND, NO_FILE);
    };
    // iPXE says from which card it boots; what is no PCI card says nothing that we know.
    let card = query.as_deref().and_then(|query| query.strip_prefix("nic=")).and_then(|id| id.parse().ok());
    let handout = desk.file(peer, version, &release, file, card).await;
    // A node that is up and fetches for others does not boot.
    let boots = !headers.contains_key(NEIGHBOUR_HEADER);
    let handout = handout.map(|(bytes, event)| (bytes, event.filter(|_| boots)));
    answer(&desk, &method, &headers, BYTES, handout)
}

async fn agent(
    State(desk): Shared,
    Extension(peer): Extension<Peer>,
    Path(format): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Reply {
    match format.parse::<InitramfsFormat>() {
        Ok(format) => answer(&desk, &method, &headers, BYTES, desk.agent(peer, format).await),
        Err(why) => refusal(StatusCode::NOT_FOUND, why),
    }
}

async fn program(
    State(desk): Shared,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Reply {
    // iPXE looks for its script beside itself.
    if name == "autoexec.ipxe" {
        return fresh(answer(&desk, &method, &HeaderMap::new(), TEXT, desk.autoexec(Loader::Ipxe, peer)));
    }
    let kind = if name.to_ascii_lowercase().ends_with(".efi") { EFI } else { BYTES };
    answer(&desk, &method, &headers, kind, desk.program(peer, &name).await)
}

async fn grub(State(desk): Shared, Extension(peer): Extension<Peer>, method: Method) -> Reply {
    fresh(answer(&desk, &method, &HeaderMap::new(), TEXT, desk.autoexec(Loader::Grub, peer)))
}

async fn grub_file(
    State(desk): Shared,
    Extension(peer): Extension<Peer>,
    Path((mac, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Reply {
    let Ok(mac) = mac.parse::<Mac>() else { return refusal(StatusCode::NOT_FOUND, NO_MAC) };
    if let Some(loader) = SignedLoader::named(&name) {
        return answer(&desk, &method, &headers, EFI, desk.signed_loader(peer, mac, loader).await);
    }
    if name == "grub.cfg" {
        return fresh(answer(&desk, &method, &HeaderMap::new(), TEXT, desk.script(Loader::Grub, peer, mac).await));
    }
    refusal(StatusCode::NOT_FOUND, NO_FILE)
}

fn answer(desk: &Arc<Desk>, method: &Method, headers: &HeaderMap, kind: &str, handout: Handout) -> Reply {
    match handout {
        Ok((bytes, event)) => {
            let mut reply = send(method, headers, bytes, desk, event);
            set(&mut reply, header::CONTENT_TYPE, kind);
            reply
        }
        Err(Refusal::Missing(why)) => refusal(StatusCode::NOT_FOUND, why),
        Err(Refusal::Forbidden(why)) => refusal(StatusCode::FORBIDDEN, &why),
        Err(Refusal::Failed(why)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}

/// What is made for one boot is in nobody's cache.
fn fresh(mut reply: Reply) -> Reply {
    set(&mut reply, header::CACHE_CONTROL, "no-store");
    reply
}

/// GET or HEAD of bytes in memory, whole or one range; records the event, if there is one, when all is sent or the client is gone.
fn send(method: &Method, headers: &HeaderMap, bytes: Bytes, desk: &Arc<Desk>, event: Option<BootEvent>) -> Reply {
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
            let desk = Arc::clone(desk);
            Body::new(CountedBody::new(part, move |sent| {
                event.bytes = sent;
                if sent < whole as u64 {
                    event.detail = format!("{}: {sent} of {whole} bytes", event.detail);
                }
                desk.record(event);
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
