use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wulfpack_shared::id::{BootId, Hash, Mac, NodeName, PublicKey};
use wulfpack_shared::identity::{Role, SecretKey, SignedMembership, TokenKey};
use wulfpack_shared::image::{Compression, Header, KernelEntry, Part, SignedHeader};
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::net::control::ControlHandler as _;
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{
    ControlRequest, ControlResponse, DataAddrs, JoinAnswer, JoinPurpose, JoinRequest, Phase, Refusal, RefusalReason,
    RenewAnswer, RenewRequest, ReportBatch, ReportEvent, ReportKind, TrackImage, TrackRequest,
};

use super::service::machine_id;
use super::tests::node;
use super::*;
use crate::config::ClusterKeys;
use crate::fleet::{FleetHandle, Severity};
use crate::orders::OrdersHandle;
use crate::registry::{ImageRef, Node, Snapshot};
use crate::store::{RedbStore, Store};
use crate::tracker::TrackerHandle;

mod next_boot;
mod orders;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SEEN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn cluster() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn header(name: &str) -> SignedHeader {
    let part = Part { hash: Hash([1; 32]), len: 100 };
    let kernel = KernelEntry { version: "6.1.0-1".into(), kernel: part, modules: part, default_args: vec![] };
    let name = name.parse().unwrap();
    let (pages, kernels) = (vec![Hash([2; 32])], vec![kernel]);
    let header = Header::new(name, part, Compression::Zstd, 1000, 1, pages, kernels, "test".into());
    SignedHeader::sign(&header, &cluster()).unwrap()
}

#[derive(Debug)]
struct World;

impl Images for World {
    fn header(&self, image: &ImageRef) -> Result<SignedHeader, String> {
        match image.name.as_str() {
            "debian" => Ok(header("debian")),
            other => Err(format!("image {other} was never built")),
        }
    }
}

impl Overlays for World {
    fn render(&self, node: &Node, _: &Arc<Snapshot>) -> Result<Vec<Bundle>, String> {
        let kind = EntryKind::File(node.name.to_string().into_bytes().into());
        let entry = Entry { path: "etc/hostname".into(), kind, mode: 0o644, uid: 0, gid: 0, secret: false };
        let motd = Entry { path: "etc/motd".into(), ..entry.clone() };
        let bundle = |name: &str, context, entry| Bundle {
            name: name.parse().unwrap(),
            context,
            entries: vec![entry],
            reload: vec![],
        };
        Ok(vec![bundle("hostname", Context::System, entry), bundle("motd", Context::Runtime, motd)])
    }
}

impl Registry for World {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot::new([node("n1", Some("debian")), node("n2", Some("never"))]))
    }
}

struct Head {
    service: JoinService,
    tokens: TokenMaker,
    members: Members,
    store: Arc<dyn Store>,
    fleet: FleetHandle,
    orders: OrdersHandle,
    clock: ClusterClock,
    keys: watch::Sender<Arc<ClusterKeys>>,
    _dir: tempfile::TempDir,
}

fn head() -> Head {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ClusterClock::at(NOW));
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&dir.path().join("state.redb")).unwrap());
    let key = TokenKey::new(store.token_key([5; 32]).unwrap());
    let (fleet, _probes) = FleetHandle::open(&*store, clock.clone()).unwrap();
    let members = Members::open(Arc::clone(&store)).unwrap();
    let keys = watch::Sender::new(Arc::new(ClusterKeys::first(cluster())));
    let orders = OrdersHandle::new(&clock, Duration::from_secs(300));
    let service = JoinService::new(JoinOptions {
        cluster: keys.subscribe(),
        identity: SecretKey::from_seed([2; 32]),
        tokens: key.clone(),
        store: Arc::clone(&store),
        members: members.clone(),
        registry: Arc::new(World),
        images: Arc::new(World),
        packer: crate::overlay::Packer::default(),
        overlays: Arc::new(World),
        tracker: TrackerHandle::new([3; 32], 0),
        fleet: fleet.clone(),
        orders: orders.clone(),
        once: crate::once::OnceBook::open(Arc::clone(&store)).unwrap(),
        clock: clock.clone(),
        domain: "cluster.example".into(),
        tmpfs_dirs: vec!["/tmp".into()],
    });
    Head { service, tokens: TokenMaker::new(key), members, store, fleet, orders, clock, keys, _dir: dir }
}

fn key(byte: u8) -> PublicKey {
    SecretKey::from_seed([byte; 32]).public()
}

fn request(token: Vec<u8>, purpose: JoinPurpose) -> JoinRequest {
    JoinRequest {
        token,
        purpose,
        agent: "0.1.0".into(),
        boot: BootId([9; 16]),
        nonce: [4; 16],
        data: DataAddrs { port: 9871, ips: vec![] },
        arch: "x86_64".into(),
        memory: 1 << 31,
        clock_offset_ms: 0,
    }
}

impl Head {
    fn token(&self, name: &str) -> Vec<u8> {
        self.tokens.for_boot(&name.parse().unwrap(), MAC, NOW, NOW)
    }

    fn join(&self, who: u8, token: Vec<u8>) -> Result<JoinAnswer, Refusal> {
        self.service.join(key(who), SEEN, &request(token, JoinPurpose::Boot))
    }

    fn fetch(&self, who: u8, token: Vec<u8>) -> Result<JoinAnswer, Refusal> {
        self.service.join(key(who), SEEN, &request(token, JoinPurpose::Fetch { image: None }))
    }
}

#[test]
fn the_answer_holds_all_that_a_node_needs() {
    let head = head();
    let answer = head.join(1, head.token("n1")).unwrap();
    let cluster = [cluster().public()];
    let now = answer.time.verify(&[4; 16], &cluster).unwrap();
    assert!(now.distance(NOW) < Duration::from_secs(600));
    let membership = answer.certificate.verify(&cluster, &key(1), now).unwrap();
    assert_eq!((membership.name.as_str(), membership.rack.unwrap().as_str()), ("n1", "r1"));
    assert_eq!(answer.image.verify(&cluster).unwrap().name.as_str(), "debian");
    let settings = answer.node.unwrap();
    assert_eq!((settings.hostname.as_str(), settings.kernel.as_str()), ("n1.cluster.example", "6.1.0-1"));
    assert_eq!((settings.overlays.len(), settings.tmpfs_dirs.len()), (2, 1));
    assert_ne!(settings.entropy, [0; 32]);
    assert_eq!(settings.machine_id, machine_id(&SecretKey::from_seed([2; 32]), &"n1".parse().unwrap()));
    assert_eq!(
        head.fleet.look(|fleet| fleet.latest().map(|boot| boot.boot).collect::<Vec<_>>()),
        [Some(BootId([9; 16]))]
    );
}

#[test]
fn a_lost_answer_is_repeated_and_a_second_key_locks_both_out() {
    let head = head();
    let token = head.token("n1");
    head.join(1, token.clone()).unwrap();
    head.join(1, token.clone()).unwrap();
    assert!(head.members.valid(&key(1), head.clock.now()).is_some());
    let refused = head.join(2, token.clone()).unwrap_err();
    assert!(refused.reason == RefusalReason::Token && refused.text.contains("already used"), "{}", refused.text);
    assert!(head.members.valid(&key(1), head.clock.now()).is_none(), "the first certificate is void");
    assert!(head.join(1, token).unwrap_err().text.contains("revoked"));
    assert_eq!(head.store.revocations().unwrap().keys.len(), 2);
    assert_eq!(head.members.revocations().borrow().epoch, 1);
    let severities: Vec<_> = head.fleet_events();
    assert_eq!(severities, [Severity::Alarm]);
    // The next boot of the node has another token and another key.
    let later = head.tokens.for_boot(&"n1".parse().unwrap(), MAC, NOW + Duration::from_secs(100), NOW);
    assert!(head.join(3, later).is_ok());
}

impl Head {
    fn fleet_events(&self) -> Vec<Severity> {
        // Nothing writes in these tests, so that every event is still there.
        let store = Arc::clone(&self.store);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (stop, stopped) = watch::channel(true);
        runtime.block_on(self.fleet.clone().write_to(store, stopped));
        drop(stop);
        self.store.events(100).unwrap().into_iter().map(|(_, event)| event.severity).collect()
    }
}

#[test]
fn tokens_that_are_no_good_are_refused_by_reason() {
    let head = head();
    let foreign = TokenMaker::new(TokenKey::new([6; 32])).for_boot(&"n1".parse().unwrap(), MAC, NOW, NOW);
    let old = NOW - Duration::from_secs(16 * 60);
    let expired = head.tokens.for_boot(&"n1".parse().unwrap(), MAC, old, old);
    for (token, text) in [(vec![], "token refused"), (foreign, "not made by a head"), (expired, "expired at")] {
        let refused = head.join(1, token).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::Token);
        assert!(refused.text.contains(text), "{}", refused.text);
    }
    assert!(head.members.find(&key(1)).is_none());
}

#[test]
fn what_has_to_be_mended_first_does_not_spend_the_token() {
    let head = head();
    let token = head.token("n2");
    let refused = head.join(1, token.clone()).unwrap_err();
    assert_eq!((refused.reason, refused.text.as_str()), (RefusalReason::NoImage, "image never was never built"));
    let gone = head.tokens.for_boot(&"n9".parse::<NodeName>().unwrap(), MAC, NOW, NOW);
    assert_eq!(head.join(1, gone).unwrap_err().reason, RefusalReason::Configuration);
    let refused = head.join(2, token).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::NoImage, "another key is not refused for the first one's sake");
}

#[test]
fn an_anonymous_ticket_gives_the_image_to_so_many_and_nothing_else() {
    let head = head();
    let image = || "debian".parse().unwrap();
    let ticket = head.tokens.anonymous(image(), 2, Duration::from_secs(60), NOW).unwrap();
    for who in [1, 2, 1] {
        assert_eq!(head.fetch(who, ticket.clone()).unwrap().node, None);
    }
    assert!(head.fetch(3, ticket.clone()).unwrap_err().text.contains("all 2 places"));
    assert!(head.members.valid(&key(1), head.clock.now()).is_some(), "one too many harms nobody");
    assert_eq!(head.join(1, ticket).unwrap_err().reason, RefusalReason::Token);
    // It may only speak of its own image.
    let images = vec![TrackImage { image: header("other").id(), held: 0, total: 5 }];
    let track =
        TrackRequest { data: DataAddrs { port: 1, ips: vec![] }, images, want: 5, have: vec![], leaving: false };
    let ControlResponse::Peers(answer) = head.service.track(key(1), SEEN, track).unwrap() else { panic!() };
    assert_eq!(answer.peers, []);
}

#[tokio::test]
async fn only_members_track_report_and_renew() {
    let head = head();
    let remote = "10.0.0.7:5000".parse().unwrap();
    let track = || {
        let images = vec![];
        ControlRequest::Track(TrackRequest {
            data: DataAddrs { port: 1, ips: vec![] },
            images,
            want: 5,
            have: vec![],
            leaving: false,
        })
    };
    let ControlResponse::Refused(refused) = head.service.handle(key(1), remote, track()).await else { panic!() };
    assert_eq!(refused.reason, RefusalReason::NotMember);
    let token = head.token("n1");
    let join = ControlRequest::Join(Box::new(request(token, JoinPurpose::Boot)));
    let ControlResponse::Joined(joined) = head.service.handle(key(1), remote, join).await else { panic!() };
    assert!(matches!(head.service.handle(key(1), remote, track()).await, ControlResponse::Peers(_)));

    // Recorded means stored.
    let (_stop, stopped) = watch::channel(false);
    let writer = tokio::spawn(head.fleet.clone().write_to(Arc::clone(&head.store), stopped));
    let events = vec![ReportEvent { seq: 1, at_ms: 5, kind: ReportKind::Reached(Phase::Join) }];
    let batch = ReportBatch { boot: BootId([9; 16]), events, swarm: None };
    let answer = head.service.handle(key(1), remote, ControlRequest::Report(batch)).await;
    assert_eq!(answer, ControlResponse::Recorded { through: 1 });
    assert_eq!(head.store.boots().unwrap()[0].through, 1);
    writer.abort();

    let renew = RenewRequest { certificate: joined.certificate.clone(), nonce: [8; 16] };
    // Ten days later the certificate has run out, and the heads remember the node.
    head.clock.set(NOW + Duration::from_secs(10 * 86_400));
    assert!(head.members.valid(&key(1), head.clock.now()).is_none());
    assert_eq!(
        head.service.renew(key(2), &renew).unwrap_err().reason,
        RefusalReason::NotMember,
        "another's certificate"
    );
    head.service.renew(key(1), &renew).unwrap();
    assert!(head.members.valid(&key(1), head.clock.now()).is_some());
}

impl Head {
    fn change_keys(&self, change: impl Fn(&ClusterKeys) -> ClusterKeys) {
        self.keys.send_modify(|keys| *keys = Arc::new(change(keys)));
    }

    fn renew(&self, who: u8, shown: &SignedMembership) -> Result<RenewAnswer, Refusal> {
        self.service.renew(key(who), &RenewRequest { certificate: shown.clone(), nonce: [8; 16] })
    }
}

#[test]
fn an_expired_member_comes_back_as_long_as_heads_remember_it_and_a_revoked_one_never_does() {
    let head = head();
    let joined = head.join(1, head.token("n1")).unwrap();
    let boots = |start: UnixTime| head.tokens.for_boot(&"n1".parse().unwrap(), MAC, start, NOW);
    let cast_out = head.join(2, boots(NOW + Duration::from_secs(100))).unwrap();
    head.members.revoke(&[key(2)], head.clock.now()).unwrap();
    // As the head prunes at its start, after a time in which none ran.
    let after = |days: u64| {
        head.clock.set(NOW + Duration::from_secs(days * 86_400));
        head.members.prune(head.clock.now() - RENEWAL_GRACE).unwrap();
    };
    after(7 + 29);
    let answer = head.renew(1, &joined.certificate).unwrap();
    let now = answer.time.verify(&[8; 16], &[cluster().public()]).unwrap();
    answer.certificate.verify(&[cluster().public()], &key(1), now).unwrap();
    assert!(head.renew(2, &cast_out.certificate).unwrap_err().text.contains("revoked"));
    after(7 + 31);
    assert!(head.renew(2, &cast_out.certificate).unwrap_err().text.contains("boot it again"));
    assert!(head.renew(1, &answer.certificate).is_ok(), "the new certificate counts");
}

#[test]
fn after_a_rotation_all_is_signed_by_the_new_key_and_understood_by_who_knows_only_the_old_one() {
    let head = head();
    let before = head.join(1, head.token("n1")).unwrap();
    let new = SecretKey::from_seed([11; 32]);
    head.change_keys(|keys| keys.rotated(new.clone(), NOW, Duration::from_secs(14 * 86_400)));

    // A ticket or a boot script from before the rotation: its holder learns of the new key by the certificate.
    let later = head.tokens.for_ticket("n1".parse().unwrap(), Duration::from_secs(60), NOW).unwrap();
    let answer = head.join(3, later).unwrap();
    let keys = answer.certificate.keys_from(&[cluster().public()]);
    assert_eq!(keys, [cluster().public(), new.public()]);
    let now = answer.time.verify(&[4; 16], &keys).unwrap();
    answer.certificate.verify(&[cluster().public()], &key(3), now).unwrap();
    assert_eq!(answer.image.verify(&[new.public()]).unwrap().name.as_str(), "debian");
    assert_eq!(answer.image.id(), before.image.id(), "the version stays what it is");

    let renewed = head.renew(1, &before.certificate).unwrap();
    renewed.time.verify(&[8; 16], &[new.public()]).unwrap();
    renewed.certificate.verify(&[cluster().public()], &key(1), now).unwrap();
    renewed.certificate.verify(&[new.public()], &key(1), now).unwrap();
}

#[test]
fn a_dropped_key_vouches_for_nobody_whom_the_head_does_not_remember() {
    let head = head();
    let before = head.join(1, head.token("n1")).unwrap();
    let dropped = |keys: &ClusterKeys| {
        keys.rotated(SecretKey::from_seed([11; 32]), NOW, Duration::from_secs(86_400)).without_old(NOW)
    };
    head.change_keys(dropped);
    // Whoever has the dropped key can write such a certificate: for a key of his own, or for a member's in another's name.
    let forged = |who: u8, name: &str| {
        let membership = membership(key(who), name.parse().unwrap(), Role::Node, None, NOW, 0);
        SignedMembership::sign(&membership, &cluster())
    };
    for (who, name) in [(5, "n1"), (1, "n2")] {
        let refused = head.renew(who, &forged(who, name)).unwrap_err();
        assert!(refused.text.contains("dropped key"), "{}", refused.text);
    }
    head.renew(1, &before.certificate).unwrap();
}

#[test]
fn a_node_that_leaves_the_registry_is_locked_out() {
    let head = head();
    head.join(1, head.token("n1")).unwrap();
    head.service.follow(&World.snapshot()).unwrap();
    assert!(head.members.valid(&key(1), head.clock.now()).is_some());
    head.service.follow(&Snapshot::default()).unwrap();
    assert!(head.members.valid(&key(1), head.clock.now()).is_none());
}

#[test]
fn members_and_revocations_outlive_the_process() {
    let head = head();
    head.join(1, head.token("n1")).unwrap();
    let again = Members::open(Arc::clone(&head.store)).unwrap();
    assert!(again.valid(&key(1), head.clock.now()).is_some());
    again.revoke(&[key(1)], head.clock.now()).unwrap();
    let again = Members::open(Arc::clone(&head.store)).unwrap();
    assert!(again.is_revoked(&key(1)) && again.epoch() == 1);
    again.prune(head.clock.now()).unwrap();
    assert!(again.is_revoked(&key(1)), "as long as the certificate lasts");
}

#[test]
fn machine_ids_are_stable_uuids_and_differ() {
    let id = |seed: u8, name: &str| machine_id(&SecretKey::from_seed([seed; 32]), &name.parse().unwrap());
    assert_eq!(id(1, "n1"), id(1, "n1"));
    assert!(id(1, "n1") != id(1, "n2") && id(1, "n1") != id(2, "n1"));
    assert_eq!((id(1, "n1")[6] >> 4, id(1, "n1")[8] >> 6), (4, 2));
}
