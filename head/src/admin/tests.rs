use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wulfpack_shared::id::{BootId, Hash, Mac, NodeName, PublicKey, VersionId};
use wulfpack_shared::identity::{SecretKey, Ticket, TokenKey, TokenSubject};
use wulfpack_shared::image::{Compression, Header, Part, SignedHeader};
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::time::UnixTime;

use super::*;
use crate::config::ClusterKeys;
use crate::fleet::{BootReport, EventRecord, FleetHandle, Input, Joined, LogLine, Severity, VersionUse};
use crate::join::{Images, Registry, TokenMaker};
use crate::orders::OrdersHandle;
use crate::registry::{ImageRef, Snapshot};
use crate::store::{RedbStore, Store};

#[derive(Debug)]
struct Empty;

impl HeadFacts for Empty {
    fn status(&self) -> HeadStatus {
        HeadStatus {
            version: "0".into(),
            cluster: "c".into(),
            started: UnixTime(0),
            key: PublicKey([1; 32]),
            cluster_key: PublicKey([2; 32]),
            services: std::collections::BTreeMap::new(),
            registry_error: None,
            members: 0,
            images: vec![],
        }
    }
    fn versions_in_use(&self) -> Vec<VersionUse> {
        vec![]
    }
    fn dhcp(&self) -> DhcpStatus {
        DhcpStatus::default()
    }
    fn replace_keys(&self, keys: ClusterKeys) -> Result<(), String> {
        if keys.follow(&ClusterKeys::first(secret(2))) { Ok(()) } else { Err("restart it".into()) }
    }
    fn override_dhcp(&self, _: bool) -> Result<(), String> {
        Err("DHCP is off".into())
    }
}

impl Images for Empty {
    fn header(&self, image: &ImageRef) -> Result<SignedHeader, String> {
        let part = Part { hash: Hash([1; 32]), len: 100 };
        let (name, pages) = (image.name.clone(), vec![Hash([2; 32])]);
        let header = Header::new(name, part, Compression::Zstd, 1000, 1, pages, vec![], "test".into());
        let signed = SignedHeader::sign(&header, &SecretKey::from_seed([1; 32])).unwrap();
        if image.name.as_str() == "debian" { Ok(signed) } else { Err(format!("there is no image {}", image.name)) }
    }
}

impl crate::join::Overlays for Empty {
    fn render(
        &self,
        _: &crate::registry::Node,
        _: &Arc<Snapshot>,
    ) -> Result<Vec<wulfpack_shared::overlay::Bundle>, String> {
        Ok(vec![])
    }
}

impl Registry for Empty {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::default()
    }
}

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// Key 2, replaced by 3 a moment ago.
fn rotated() -> ClusterKeys {
    ClusterKeys::first(secret(2)).rotated(secret(3), UnixTime(1_000_000), Duration::from_secs(1000))
}

fn cluster() -> watch::Receiver<Arc<ClusterKeys>> {
    watch::Sender::new(Arc::new(rotated())).subscribe()
}

struct Bench {
    client: AdminClient,
    services: AdminServices,
    dir: tempfile::TempDir,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&dir.path().join("state.redb")).unwrap());
    let clock = ClusterClock::at(UnixTime(1_000_000));
    let (fleet, _) = FleetHandle::open(&*store, clock.clone()).unwrap();
    let services = AdminServices {
        facts: Arc::new(Empty),
        trace: crate::trace::TraceHandle::new(ClusterClock::system()),
        fleet,
        orders: OrdersHandle::new(&clock, Duration::from_secs(300)),
        once: crate::once::OnceBook::open(Arc::clone(&store)).unwrap(),
        store,
        registry: Arc::new(Empty),
        overlays: Arc::new(Empty),
        images: Arc::new(Empty),
        tokens: TokenMaker::new(TokenKey::new([5; 32])),
        clock,
        cluster: cluster(),
        head: PublicKey([1; 32]),
        control: vec!["10.0.0.1:9870".parse().unwrap()],
        discovery: None,
    };
    let socket = dir.path().join("run/admin.sock");
    let server = AdminServer::bind(&socket).unwrap();
    let task = tokio::spawn(server.run(services.clone()));
    Bench { client: AdminClient::new(&socket), services, dir, task }
}

fn join(bench: &Bench) {
    let joined = Joined {
        node: "n1".parse().unwrap(),
        key: PublicKey([3; 32]),
        boot: BootId([1; 16]),
        addr: "10.0.0.7".parse().unwrap(),
        image: VersionId([1; 32]),
        agent: "0".into(),
        memory: 1,
        clock_offset_ms: 0,
    };
    bench.services.fleet.tell(Input::Joined(joined));
}

#[tokio::test]
async fn status_waits_for_the_next_change() {
    let bench = bench();
    let first: Status = bench.client.get("/v1/status").await.unwrap();
    let path = format!("/v1/status?since={}", first.version);
    let (next, ()) = tokio::join!(bench.client.get::<Status>(&path), async { join(&bench) });
    assert!(next.unwrap().version > first.version);
    let report: BootReport = bench.client.get("/v1/report").await.unwrap();
    assert_eq!(report.nodes[0].name.as_str(), "n1");
    for (node, boots) in [("n1", 1), ("n2", 0)] {
        let request = ReportRequest { nodes: Some(vec![node.parse().unwrap()]), boots: 1 };
        let report: BootReport = bench.client.post("/v1/report", &request).await.unwrap();
        assert_eq!(report.nodes.len(), boots, "{node}");
    }
}

#[tokio::test]
async fn a_ticket_is_audited_and_holds_what_was_asked_for() {
    let bench = bench();
    let subject = TicketFor::Anonymous { image: "debian".parse().unwrap(), count: 3 };
    let answer: TicketAnswer = bench.client.post("/v1/ticket", &TicketRequest { subject, life_s: 60 }).await.unwrap();
    let ticket: Ticket = answer.ticket.parse().unwrap();
    assert_eq!((ticket.heads[0].control.port(), ticket.cluster), (9870, vec![secret(3).public(), secret(2).public()]));
    let body = TokenKey::new([5; 32]).open(&ticket.token, UnixTime(1_000_000)).unwrap();
    assert!(matches!(body.subject, TokenSubject::Anonymous { count: 3, .. }));
    let audit = &bench.services.store.audits(10).unwrap()[0];
    assert_eq!((audit.what.as_str(), audit.detail.as_str()), ("ticket", "3 hosts, image debian, good for 60 s"));
    assert!(!format!("{answer:?}").contains("wulf1-"));
}

#[tokio::test]
async fn an_approval_is_audited_and_known_to_the_next_head() {
    let bench = bench();
    let (stop, told) = watch::channel(false);
    let writer = tokio::spawn(bench.services.fleet.clone().write_to(Arc::clone(&bench.services.store), told));
    let (mac, node, now): (_, NodeName, _) = (Mac([2, 0, 0, 0, 0, 1]), "n1".parse().unwrap(), UnixTime(1_000_000));
    let request = ApproveRequest { nodes: vec![node.clone(), "n2".parse().unwrap()] };
    let approve = || bench.client.post::<ApproveAnswer>("/v1/approve", &request);
    assert_eq!(approve().await.unwrap().approved, [], "nobody waits");
    assert_eq!(bench.services.store.audits(10).unwrap(), []);

    bench.services.fleet.tell(Input::Waits { node: node.clone(), mac, addr: "10.0.0.7".parse().unwrap() });
    let answer = approve().await.unwrap();
    assert_eq!((answer.approved[0].node.as_str(), answer.approved[0].mac), ("n1", mac));
    assert_eq!(answer.not_waiting, ["n2".parse().unwrap()]);
    let audit = &bench.services.store.audits(10).unwrap()[0];
    assert_eq!((audit.what.as_str(), audit.detail.as_str()), ("approve", "n1 (02:00:00:00:00:01)"));
    let (next, _) = FleetHandle::open(&*bench.services.store, bench.services.clock.clone()).unwrap();
    assert!(next.look(|fleet| fleet.approved(&node, mac, now)).is_some());
    assert_eq!(approve().await.unwrap().approved, [], "it waits no more");
    stop.send_replace(true);
    writer.await.unwrap();
}

#[tokio::test]
async fn events_are_numbered_and_the_next_is_waited_for() {
    let bench = bench();
    let (stop, told) = watch::channel(false);
    let writer = tokio::spawn(bench.services.fleet.clone().write_to(Arc::clone(&bench.services.store), told));
    let tell = |text: &str| {
        bench.services.fleet.tell(Input::Event { severity: Severity::Warning, node: None, text: text.into() });
    };
    let next = |from| {
        let client = bench.client.clone();
        async move { client.get::<Vec<Event>>(&format!("/v1/events?from={from}")).await.unwrap() }
    };
    let (first, ()) = tokio::join!(next(0), async { tell("one") });
    assert_eq!((first.len(), first[0].number, first[0].record.text.as_str()), (1, 0, "one"));
    let (second, ()) = tokio::join!(next(1), async { tell("two") });
    assert_eq!((second[0].number, second[0].record.text.as_str()), (1, "two"));
    let last: Vec<Event> = bench.client.get("/v1/events?count=1").await.unwrap();
    assert_eq!(last, second);
    assert_eq!(next(0).await.len(), 2, "what was there already comes at once");
    // Who knows no numbers reads the events as before.
    let plain: Vec<EventRecord> = bench.client.get("/v1/events").await.unwrap();
    assert_eq!(plain.iter().map(|event| event.text.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    stop.send_replace(true);
    writer.await.unwrap();
}

#[tokio::test]
async fn changed_keys_are_taken_if_they_lead_on_and_were_audited_before() {
    let bench = bench();
    let deed = KeyDeed::Rotate { trusted: vec![secret(3).public(), secret(2).public()] };
    assert_eq!(bench.client.post::<KeyDeed>("/v1/key/record", &deed).await.unwrap(), deed);
    let info: KeyInfo = bench.client.post("/v1/key", &KeysChange::of(&rotated())).await.unwrap();
    assert_eq!((info.cluster, info.trusted), (secret(3).public(), vec![secret(3).public(), secret(2).public()]));
    let audit = &bench.services.store.audits(10).unwrap()[0];
    assert!(audit.what == "key-rotate" && audit.detail.contains(&format!("{:.16}", secret(2).public())), "{audit:?}");
    let foreign = KeysChange::of(&ClusterKeys::first(secret(9)));
    assert!(!format!("{foreign:?}").contains("0909"), "secret");
    let error = bench.client.post::<KeyInfo>("/v1/key", &foreign).await.unwrap_err();
    assert_eq!(error.to_string(), "restart it");
    assert_eq!(bench.services.store.audits(10).unwrap().len(), 1);
}

#[tokio::test]
async fn refusals_say_why() {
    let bench = bench();
    let unknown = TicketRequest { subject: TicketFor::Node("n9".parse().unwrap()), life_s: 60 };
    let error = bench.client.post::<TicketAnswer>("/v1/ticket", &unknown).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no node n9");
    let subject = TicketFor::Anonymous { image: "rocky".parse().unwrap(), count: 1 };
    let error =
        bench.client.post::<TicketAnswer>("/v1/ticket", &TicketRequest { subject, life_s: 60 }).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no image rocky");
    let error = bench.client.post::<DhcpOverride>("/v1/dhcp/override", &DhcpOverride { on: true }).await.unwrap_err();
    assert_eq!(error.to_string(), "DHCP is off");
    let error = bench.client.get::<Vec<LogLine>>("/v1/log/n1").await.unwrap_err();
    assert_eq!(error.to_string(), "the head knows of no boot of node n1");
}

#[tokio::test]
async fn the_socket_is_private_and_taken_over_only_from_the_dead() {
    let bench = bench();
    let socket = bench.dir.path().join("run/admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(AdminServer::bind(&socket), Err(AdminError::InUse(_))));
    bench.task.abort();
    assert!(bench.task.await.unwrap_err().is_cancelled());
    let error = bench.client.get::<KeyInfo>("/v1/key").await.unwrap_err();
    assert!(error.to_string().contains("wulf serve"), "{error}");
    assert!(AdminServer::bind(&socket).is_ok());
}
