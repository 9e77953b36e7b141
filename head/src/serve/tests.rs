//! A whole head on an address of its own, and real agents that fetch from it.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wulfpack_agent::fetch::{self, FetchArgs};
use wulfpack_agent::member::until_renewed;
use wulfpack_shared::id::{BootId, PublicKey};
use wulfpack_shared::identity::{HeadAddr, Membership, Role, SecretKey, SignedMembership, Ticket};
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::wire::{ControlRequest, ControlResponse, DataAddrs, RefusalReason, RenewRequest, TrackRequest};

use super::core::{Core, Opened};
use super::places::Places;
use super::services::Services;
use crate::admin::{AdminClient, KeyInfo, KeysChange, Status, TicketAnswer, TicketFor, TicketRequest};
use crate::config::{Config, InterfaceConfig, KeyRole, Keys, Paths, create_dir, create_key};
use crate::image::{BuildSettings, Library, Silent};
use crate::join::membership;
use crate::registry::INITIAL_YAML;
use crate::store::{Member, RedbStore};

mod approval;
mod commands;
mod discovery;

/// What the user types.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: FetchArgs,
}

/// A head below a directory, on a loopback address that no other test has.
struct Head {
    core: Arc<Core>,
    services: Services,
    client: AdminClient,
    dir: tempfile::TempDir,
}

/// Configuration, keys and an empty registry, as `wulf init` makes them.
fn set_up(root: &Path, last: u8) -> Config {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(127, high | 1, low, last));
    let interface = InterfaceConfig { dhcp: false, addresses: vec![address], ..InterfaceConfig::default() };
    let mut config = Config { paths: Paths::below(root), ..Config::default() };
    config.interfaces.insert("lo".into(), Some(interface));
    for dir in [&config.paths.etc, &config.paths.state, &config.paths.keys()] {
        create_dir(dir, 0o700).unwrap();
    }
    create_key(&config.paths.cluster_key(), KeyRole::Cluster).unwrap();
    create_key(&config.paths.head_key(), KeyRole::Head).unwrap();
    create_key(&config.paths.ssh_key(), KeyRole::Ssh).unwrap();
    fs::write(config.paths.nodes_file(), INITIAL_YAML).unwrap();
    config
}

/// A tree that is an image: a kernel with everything built in, and some content.
fn tree(root: &Path, content: &[u8]) {
    let modules = root.join("lib/modules/6.1.0-test");
    fs::create_dir_all(&modules).unwrap();
    fs::create_dir_all(root.join("sbin")).unwrap();
    let config = "CONFIG_BLK_DEV_LOOP=y\nCONFIG_SQUASHFS=y\nCONFIG_SQUASHFS_XATTR=y\nCONFIG_SQUASHFS_ZLIB=y\nCONFIG_OVERLAY_FS=y\nCONFIG_RD_GZIP=y\n";
    fs::write(modules.join("config"), config).unwrap();
    fs::write(modules.join("vmlinuz"), "kernel").unwrap();
    // One module that nothing asks for: depmod leaves no empty index.
    fs::write(modules.join("modules.dep"), "kernel/spare.ko:\n").unwrap();
    for index in ["modules.alias", "modules.softdep", "modules.builtin", "modules.order"] {
        fs::write(modules.join(index), "").unwrap();
    }
    fs::write(root.join("sbin/init"), "init").unwrap();
    fs::write(root.join("content"), content).unwrap();
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("noise").update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn build(config: &Config, content: &[u8]) {
    let library = Library::open(config.paths.images()).unwrap();
    let name = "small".parse().unwrap();
    tree(&library.rootfs(&name), content);
    let keys = Keys::load(&config.paths).unwrap();
    library.build(&name, &BuildSettings::default(), keys.cluster.newest(), &Silent).unwrap();
}

async fn start(dir: tempfile::TempDir, config: Config) -> Head {
    let keys = Keys::load(&config.paths).unwrap();
    let places = Places::of(&config).unwrap();
    let store = Arc::new(RedbStore::open(&config.paths.store()).unwrap());
    let library = Arc::new(Library::open(config.paths.images()).unwrap());
    let client = AdminClient::new(&config.paths.admin_socket());
    let (core, streams) = Core::open(Opened { config, keys, places, store, library }).await.unwrap();
    let core = Arc::new(core);
    let services = Services::start(&core, streams).await.unwrap();
    Head { core, services, client, dir }
}

/// A head with this content in its image.
async fn with_image(last: u8, content: &[u8]) -> Head {
    let dir = tempfile::tempdir().unwrap();
    let config = set_up(dir.path(), last);
    build(&config, content);
    start(dir, config).await
}

impl Head {
    async fn ticket(&self, count: u32) -> TicketAnswer {
        let subject = TicketFor::Anonymous { image: "small".parse().unwrap(), count };
        self.client.post("/v1/ticket", &TicketRequest { subject, life_s: 600 }).await.unwrap()
    }

    /// Fetches into a file of this name; `None` if the agent says that it failed.
    async fn fetch(&self, ticket: &TicketAnswer, name: &str) -> Option<Vec<u8>> {
        let (path, out) = (self.dir.path().join(format!("{name}.ticket")), self.dir.path().join(name));
        fs::write(&path, &ticket.ticket).unwrap();
        let address = self.core.places.addresses[0].0;
        let listen = format!("{address}:0");
        let line = ["fetch", "--listen", &listen, "--ticket"].map(OsString::from);
        let line = line.into_iter().chain([path.into(), "--out".into(), out.clone().into()]);
        let code = fetch::run(Line::parse_from(line).args).await.unwrap();
        (code == ExitCode::SUCCESS).then(|| fs::read(out).unwrap())
    }

    async fn status(&self) -> Status {
        self.client.get("/v1/status").await.unwrap()
    }

    /// What a machine gets that asks by HTTP; the last line of its header is empty.
    async fn http(&self, path: &str) -> String {
        let address = SocketAddr::new(self.core.places.addresses[0].0, self.core.config.ports.http);
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut reply = vec![];
        stream.read_to_end(&mut reply).await.unwrap();
        String::from_utf8_lossy(&reply).into_owned()
    }

    fn blob(&self) -> Vec<u8> {
        let version = self.core.catalogue.0.active(&"small".parse().unwrap()).unwrap();
        fs::read(version.blob()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_with_tickets_fetch_what_was_built_and_others_get_nothing() {
    let head = with_image(1, &noise(3_000_000, 1)).await;
    let ticket = head.ticket(1).await;
    assert!(head.fetch(&ticket, "first").await.unwrap() == head.blob(), "byte for byte");
    // The last chunk may be with the host before the head has counted it.
    let mut egress = head.status().await.head.images;
    for _ in 0..1000 {
        if egress[0].sent >= egress[0].bytes {
            break;
        }
        egress = head.status().await.head.images;
    }
    assert!(egress.len() == 1 && egress[0].sent >= egress[0].bytes, "{egress:?}");

    assert_eq!(head.fetch(&ticket, "second").await, None, "the ticket's one place is taken");

    // Built while the head runs: seeded and handed out without a restart.
    let before = head.blob();
    build(&head.core.config, &noise(3_000_000, 2));
    head.core.seeds.look().await;
    let ticket = head.ticket(1).await;
    let fetched = head.fetch(&ticket, "third").await.unwrap();
    assert!(fetched == head.blob() && fetched != before);
    assert_eq!(head.status().await.head.images.len(), 2);
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_head_changes_the_clusters_key_and_old_tickets_stay_good() {
    let head = with_image(3, &noise(100_000, 3)).await;
    let first = head.core.cluster_keys();
    let old = head.ticket(3).await;
    assert!(head.fetch(&old, "before").await.unwrap() == head.blob());

    let (fresh, day) = (SecretKey::generate().unwrap(), Duration::from_secs(86_400));
    let rotated = first.rotated(fresh.clone(), head.core.clock.now(), day);
    let info: KeyInfo = head.client.post("/v1/key", &KeysChange::of(&rotated)).await.unwrap();
    assert_eq!(info.trusted, [fresh.public(), first.public()]);
    let told: Ticket = head.ticket(1).await.ticket.parse().unwrap();
    assert_eq!(told.cluster, info.trusted);
    assert!(head.fetch(&old, "after").await.unwrap() == head.blob(), "its host was told the old key only");

    let dropped = rotated.without_old(head.core.clock.now());
    head.client.post::<KeyInfo>("/v1/key", &KeysChange::of(&dropped)).await.unwrap();
    let told: Ticket = head.ticket(1).await.ticket.parse().unwrap();
    assert_eq!(told.cluster, [fresh.public()]);
    assert!(head.fetch(&old, "dropped").await.unwrap() == head.blob());
    // The data plane follows: it stops believing the old key, and shows a certificate of the new one.
    head.core.renew_own().unwrap();
    assert_eq!(head.core.trust.cluster(), [fresh.public()]);

    let back = head.client.post::<KeyInfo>("/v1/key", &KeysChange::of(&first)).await.unwrap_err();
    assert!(back.to_string().contains("restart it"), "{back}");
    head.services.control.shutdown().await;
}

/// A registry with these nodes.
fn register(config: &Config, nodes: &[&str]) {
    let nodes: String = nodes.iter().map(|name| format!("  {name}:\n    image name: small\n")).collect();
    fs::write(config.paths.nodes_file(), format!("nodes:\n{nodes}")).unwrap();
}

/// A node that joined long ago with this key, as the head remembers it, and its certificate, which has run out.
fn long_gone(head: &Head, name: &str, key: PublicKey) -> SignedMembership {
    let joined = head.core.clock.now() - Duration::from_secs(20 * 86_400);
    let membership = membership(key, name.parse().unwrap(), Role::Node, None, joined, 0);
    let Membership { subject, name, role, rack, not_after, .. } = membership.clone();
    let (boot, nonce) = (BootId([1; 16]), [1; 16]);
    head.core.members.put(Member { key: subject, name, role, rack, boot, nonce, issued: joined, not_after }).unwrap();
    head.core.cluster_keys().certify(&membership)
}

impl Head {
    fn control(&self, key: &SecretKey) -> ControlClient {
        let addrs = self.services.control.local_addrs().iter();
        let heads = addrs.map(|control| HeadAddr { key: self.core.head.public(), control: *control }).collect();
        ControlClient::new(heads, key).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_certificate_ran_out_becomes_a_member_again_without_a_boot() {
    let dir = tempfile::tempdir().unwrap();
    let config = set_up(dir.path(), 4);
    register(&config, &["n1"]);
    let head = start(dir, config).await;
    let key = SecretKey::generate().unwrap();
    let old = long_gone(&head, "n1", key.public());
    let now = head.core.clock.now();
    assert!(head.core.trust.check(&key.public(), &old).is_err());
    assert!(head.core.members.valid(&key.public(), now).is_none());

    let cluster = head.core.trust.cluster();
    let renewed = until_renewed(&head.control(&key), &key.public(), &old, &cluster, || {}).await;
    assert!(renewed.time.distance(now) < Duration::from_secs(600));
    head.core.trust.check(&key.public(), &renewed.certificate).unwrap();
    assert!(head.core.members.valid(&key.public(), now).is_some());
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_node_is_locked_out_by_the_head_and_named_to_its_peers() {
    let dir = tempfile::tempdir().unwrap();
    let config = set_up(dir.path(), 5);
    register(&config, &["n1", "n2"]);
    let head = start(dir, config).await;
    let cluster = head.core.trust.cluster();
    let [deleted, peer] = [(); 2].map(|()| SecretKey::generate().unwrap());
    let mut members = vec![];
    for (name, key) in [("n1", &deleted), ("n2", &peer)] {
        let (old, client) = (long_gone(&head, name, key.public()), head.control(key));
        members.push((until_renewed(&client, &key.public(), &old, &cluster, || {}).await.certificate, client));
    }
    let data = DataAddrs { port: 9871, ips: vec![] };
    let track = TrackRequest { data, images: vec![], want: 5, have: vec![], leaving: false };
    let track = || ControlRequest::Track(track.clone());
    for (_, client) in &members {
        let ControlResponse::Peers(answer) = client.request(track()).await.unwrap() else { panic!() };
        assert_eq!(answer.revoked, []);
    }

    register(&head.core.config, &["n2"]);
    // The registry is looked at; then members, tracker and data plane follow one after the other.
    let followed = async {
        while !head.core.trust.is_revoked(&deleted.public()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), followed).await.unwrap();
    head.core.trust.check(&deleted.public(), &members[0].0).unwrap_err();
    let ControlResponse::Peers(answer) = members[1].1.request(track()).await.unwrap() else { panic!() };
    assert_eq!((answer.revoked, answer.epoch), (vec![deleted.public()], 1));
    let renew = RenewRequest { certificate: members[0].0.clone(), nonce: [1; 16] };
    for request in [track(), ControlRequest::Renew(renew)] {
        let ControlResponse::Refused(refused) = members[0].1.request(request).await.unwrap() else { panic!() };
        assert_eq!(refused.reason, RefusalReason::NotMember, "{}", refused.text);
    }
    head.services.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_have_its_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = set_up(dir.path(), 2);
    let head = start(dir, config).await;
    let other = tempfile::tempdir().unwrap();
    let config = set_up(other.path(), 2);
    let opened = Opened {
        keys: Keys::load(&config.paths).unwrap(),
        places: Places::of(&config).unwrap(),
        store: Arc::new(RedbStore::open(&config.paths.store()).unwrap()),
        library: Arc::new(Library::open(config.paths.images()).unwrap()),
        config,
    };
    let error = Core::open(opened).await.unwrap_err();
    assert!(format!("{error:#}").starts_with("the swarm"), "{error:#}");
    head.services.control.shutdown().await;
}
