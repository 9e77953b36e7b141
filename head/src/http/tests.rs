//! The service against the router alone, and once over a real socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tower::ServiceExt;
use wulfpack_shared::id::{Mac, VersionId};
use wulfpack_shared::wire::Phase;

mod loaders;

use super::test_support::{ADDRESS, BARE, Events, Generous, MAC, VERSION, node, services};
use super::*;
use crate::config::TokenEvidence;
use crate::discover::Networks;
use crate::fleet::BootEvent;
use crate::registry::{Node, Snapshot};

struct World {
    services: Services,
    events: Arc<Events>,
    proof: TokenEvidence,
}

fn world() -> World {
    let (services, events) = services();
    World { services, events, proof: TokenEvidence::Dhcp }
}

impl World {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, Vec<(String, String)>, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        let (remote, local) = ((ADDRESS, 4000).into(), "10.0.0.1:9872".parse().unwrap());
        request.extensions_mut().insert(Peer { remote, local, proof: self.proof });
        let reply = Router::oneshot(router(Arc::new(Desk::new(self.services.clone()))), request).await.unwrap();
        let status = reply.status();
        let headers = reply.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        (status, headers, String::from_utf8(to_bytes(reply.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (status, _, body) = self.ask("GET", path, &[]).await;
        (status, body)
    }

    fn events(&self) -> Vec<BootEvent> {
        std::mem::take(&mut self.events.0.lock().unwrap())
    }
}

fn header_of(headers: &[(String, String)], name: header::HeaderName) -> Option<&str> {
    headers.iter().find(|(found, _)| found.as_str() == name.as_str()).map(|(_, value)| value.as_str())
}

fn kernel_path() -> String {
    format!("/files/{VERSION}/6.1.0/kernel")
}

#[tokio::test]
async fn a_node_gets_its_boot_script_and_the_fleet_hears_of_it() {
    let world = world();
    let (status, headers, script) = world.ask("GET", "/boot/52-54-00-00-00-01/script.ipxe", &[]).await;
    assert_eq!((status, header_of(&headers, header::CACHE_CONTROL)), (StatusCode::OK, Some("no-store")));
    assert!(script.starts_with("#!ipxe\n"));
    assert!(script.contains(&format!("http://10.0.0.1:9872{}", kernel_path())), "{script}");
    assert!(script.contains("http://10.0.0.1:9872/agent/zstd"), "the agent is packed as the modules are");
    assert!(script.contains("quiet panic=30"));
    let events = world.events();
    assert_eq!((events.len(), events[0].phase, events[0].bytes), (1, Phase::Script, script.len() as u64));
    assert_eq!(events[0].detail, "debian@1d1d1d1d1d1d, kernel 6.1.0");
}

#[tokio::test]
async fn who_has_nothing_to_boot_is_told_why_and_waits() {
    let mut world = world();
    let broken = node("n1", MAC, Some("other"));
    world.services.nodes = watch::channel(Arc::new(Snapshot::new([broken, node("bare", BARE, None)]))).1;
    for (mac, reason) in [
        ("52-54-00-00-00-01", "image other was never built"),
        ("52-54-00-00-00-02", "node bare has no image"),
        ("52-54-00-00-00-09", "no node has the MAC address 52:54:00:00:00:09"),
    ] {
        let (status, script) = world.get(&format!("/boot/{mac}/script.ipxe")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(script.contains(reason) && script.contains("sleep"), "{script}");
    }
    assert_eq!(world.events(), []);
}

#[tokio::test]
async fn a_token_goes_only_to_the_address_that_the_exchange_gave() {
    let world = world();
    let path = "/boot/52-54-00-00-00-01/token";
    let (status, reason) = world.get(path).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(reason.contains("has not given 10.0.0.7"), "{reason}");

    let evidence = &world.services.evidence;
    evidence.given(BARE, ADDRESS, true, Instant::now());
    assert_eq!(world.get(path).await.0, StatusCode::FORBIDDEN);

    if let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(3600)) {
        evidence.given(MAC, ADDRESS, true, long_ago);
        assert!(world.get(path).await.1.contains("3600 s ago"));
    }

    evidence.given(MAC, ADDRESS, true, Instant::now());
    let (status, headers, body) = world.ask("GET", path, &[]).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "token of n1 52:54:00:00:00:01"));
    assert_eq!(header_of(&headers, header::CACHE_CONTROL), Some("no-store"));
    assert_eq!(world.get("/boot/52-54-00-00-00-09/token").await.0, StatusCode::NOT_FOUND);
}

/// A machine that no node is, in a network where discovery is on.
#[tokio::test]
async fn an_unknown_machine_boots_the_agent_without_a_name_and_without_anything_that_opens_an_image() {
    let mut world = world();
    let subnets = "subnets: {10.0.0.0/24: {discover: true}}\nreservations: {pdu: {hwaddr: \"52:54:00:00:00:0a\", ipaddr: 10.0.0.9}}";
    world.services.unknown.networks = Networks::new(&serde_saphyr::from_str(subnets).unwrap());
    let (status, script) = world.get("/boot/52-54-00-00-00-09/script.ipxe").await;
    assert_eq!(status, StatusCode::OK);
    assert!(script.contains("tells the head what it is") && script.contains(&kernel_path()), "{script}");
    assert!(script.contains("wulf.discover") && script.contains("wulf.mac=52:54:00:00:00:09"), "{script}");
    assert!(
        script.contains("quiet panic=30") && !script.contains("wulf.node") && !script.contains("wulf.ip"),
        "{script}"
    );
    assert_eq!(world.events().pop().unwrap().node, None);

    // Its token is for its own address, on the evidence that every machine has to have.
    let path = "/boot/52-54-00-00-00-09/token";
    let (status, why) = world.get(path).await;
    assert!(status == StatusCode::FORBIDDEN && why.contains("has not given 10.0.0.7"), "{why}");
    let machine = Mac([0x52, 0x54, 0, 0, 0, 9]);
    world.services.evidence.given(machine, ADDRESS, true, Instant::now());
    let (status, token) = world.get(path).await;
    assert!(status == StatusCode::OK && token.starts_with("discovery of 52:54:00:00:00:09, trusted true"), "{token}");
    assert_eq!(world.get("/boot/52-54-00-00-00-01/token").await.0, StatusCode::FORBIDDEN, "a node's is not its own");
    world.proof = TokenEvidence::Approve;
    assert!(world.get(path).await.1.contains("trusted false"), "an administrator has to say so");

    // A node, and a device that is none, are never discovered.
    for (mac, words) in [("01", "kernel debian"), ("0a", "no node has the MAC address")] {
        let (_, script) = world.get(&format!("/boot/52-54-00-00-00-{mac}/script.ipxe")).await;
        assert!(!script.contains("wulf.discover"), "{words}: {script}");
    }
}

#[tokio::test]
async fn other_proofs_do_not_fall_back_to_dhcp() {
    let mut world = world();
    world.services.evidence.given(MAC, ADDRESS, true, Instant::now());
    for (proof, reason) in [(TokenEvidence::Neighbour, "neighbour table"), (TokenEvidence::Approve, "approved")] {
        world.proof = proof;
        let (status, body) = world.get("/boot/52-54-00-00-00-01/token").await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(body.contains(reason), "{body}");
    }
}

#[tokio::test]
async fn where_boots_are_approved_the_script_waits_until_then() {
    let mut world = world();
    world.proof = TokenEvidence::Approve;
    let (path, token) = ("/boot/52-54-00-00-00-01/script.ipxe", "/boot/52-54-00-00-00-01/token");
    let (status, script) = world.get(path).await;
    assert!(status == StatusCode::OK && script.contains("n1 at 10.0.0.7 has to be approved"), "{script}");
    assert!(
        script.contains("sleep") && script.contains("script.ipxe") && !script.contains("kernel --name"),
        "{script}"
    );
    assert_eq!(world.events(), [], "no script was given");
    let (_, script) = world.get("/boot/52-54-00-00-00-02/script.ipxe").await;
    assert!(script.contains("has no image") && !script.contains("approved"), "{script}");

    world.services.tokens = Arc::new(Generous);
    assert!(world.get(path).await.1.contains("kernel --name"));
    assert_eq!(world.get(token).await, (StatusCode::OK, "token of n1 52:54:00:00:00:01".into()));
}

#[tokio::test]
async fn files_come_whole_or_in_one_range() {
    let world = world();
    let cases = [
        (None, StatusCode::OK, "0123456789", None),
        (Some("bytes=2-4"), StatusCode::PARTIAL_CONTENT, "234", Some("bytes 2-4/10")),
        (Some("bytes=-1"), StatusCode::PARTIAL_CONTENT, "9", Some("bytes 9-9/10")),
        (Some("bytes=10-"), StatusCode::RANGE_NOT_SATISFIABLE, "", Some("bytes */10")),
        (Some("bytes=0-1,4-5"), StatusCode::OK, "0123456789", None),
    ];
    for (range, status, body, content_range) in cases {
        let range: Vec<_> = range.map(|value| ("range", value)).into_iter().collect();
        let reply = world.ask("GET", &kernel_path(), &range).await;
        assert_eq!(
            (reply.0, reply.2.as_str(), header_of(&reply.1, header::CONTENT_RANGE)),
            (status, body, content_range)
        );
        assert_eq!(header_of(&reply.1, header::CONTENT_LENGTH), Some(body.len().to_string().as_str()));
    }
    let events = world.events();
    let told: Vec<_> = events.iter().map(|event| (event.bytes, event.detail.as_str(), event.phase)).collect();
    assert_eq!(told[0], (10, "kernel 6.1.0", Phase::Kernel));
    assert_eq!(told[1], (3, "kernel 6.1.0: 3 of 10 bytes", Phase::Kernel));
    assert_eq!(told.len(), 4, "nothing was sent for the range outside");
    // Known by its address in the registry, even where another DHCP server gave it.
    assert_eq!(events[0].mac, BARE);
}

#[tokio::test]
async fn the_archive_behind_the_modules_begins_at_a_multiple_of_four() {
    let (_, headers, _) = world().ask("HEAD", &format!("/files/{VERSION}/6.1.0/modules"), &[]).await;
    assert_eq!(header_of(&headers, header::CONTENT_LENGTH), Some("8"));
}

#[tokio::test]
async fn nothing_else_is_served() {
    let world = world();
    for path in [
        "/",
        "/files",
        "/files/",
        &format!("/files/{VERSION}/6.1.0/"),
        &format!("/files/{VERSION}/6.1.0/manifest"),
        &format!("/files/{VERSION}/..%2f..%2fetc/kernel"),
        &format!("/files/{}/6.1.0/kernel", VersionId([2; 32])),
        "/files/x/6.1.0/kernel",
        "/agent/lzma",
        "/agent/",
        "/boot/x/script.ipxe",
        "/boot/52-54-00-00-00-01/",
    ] {
        assert_eq!(world.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(world.ask(method, &kernel_path(), &[]).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(world.get("/agent/zstd").await, (StatusCode::OK, "zstd".into()));
    let (status, reason) = world.get("/agent/xz").await;
    assert_eq!((status, reason.trim()), (StatusCode::INTERNAL_SERVER_ERROR, "the agent is not installed"));
}

/// Sends a request and reads until the server closes.
async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn over_a_socket_head_has_the_length_and_no_body() {
    let world = world();
    let listen = Listen { address: "127.0.0.1:0".parse().unwrap(), proof: TokenEvidence::Dhcp };
    let server = Server::bind(&Options { listen: vec![listen] }).unwrap();
    let address = server.addresses()[0];
    let server = tokio::spawn(server.run(Arc::new(Desk::new(world.services.clone()))));
    let path = kernel_path();
    let reply = exchange(address, &format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains("content-length: 10\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n\r\n"), "{reply}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=7-\r\nConnection: close\r\n\r\n");
    let reply = exchange(address, &request).await;
    assert!(reply.starts_with("HTTP/1.1 206 ") && reply.ends_with("\r\n\r\n789"), "{reply}");
    assert!(!reply.contains("chunked"), "{reply}");
    // The script names the address that was reached.
    let script = exchange(address, "GET /boot/52-54-00-00-00-01/script.ipxe HTTP/1.0\r\n\r\n").await;
    assert!(script.contains(&format!("http://{address}/agent/zstd")), "{script}");
    let reply = exchange(address, &format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65))).await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    server.abort();
}
