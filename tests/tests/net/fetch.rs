//! `wulf-agent fetch` as a whole, against a control plane that admits whoever has the right token.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::common::{Cluster, Member};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use wulfpack_agent::fetch::{Exit, FetchArgs, run};
use wulfpack_shared::id::PublicKey;
use wulfpack_shared::identity::{HeadAddr, Role, SecretKey, Ticket};
use wulfpack_shared::image::{Run, cut};
use wulfpack_shared::limits::CHUNK_MAX;
use wulfpack_shared::manners::{Cap, Dscp};
use wulfpack_shared::net::control::{ControlHandler, ControlServer};
use wulfpack_shared::net::store::{FetchStore, UnitStore as _};
use wulfpack_shared::wire::{
    ControlRequest, ControlResponse, JoinAnswer, PeerInfo, Refusal, RefusalReason, TrackAnswer,
};

/// Admits for the token `good`, and names the seed.
struct Door {
    cluster: Arc<Cluster>,
    seed: PeerInfo,
}

impl ControlHandler for Door {
    fn handle(&self, from: PublicKey, _: SocketAddr, request: ControlRequest) -> BoxFuture<'_, ControlResponse> {
        async move {
            match request {
                ControlRequest::Join(join) if join.token == b"good" => ControlResponse::Joined(Box::new(JoinAnswer {
                    time: self.cluster.time(&join.nonce),
                    certificate: self.cluster.certificate(from, "guest", Role::Node),
                    image: self.cluster.signed.clone(),
                    node: None,
                    peers: vec![self.seed.clone()],
                    track_after_s: 1,
                })),
                ControlRequest::Report(batch) => {
                    ControlResponse::Recorded { through: batch.events.last().map_or(0, |event| event.seq) }
                }
                ControlRequest::Track(_) => ControlResponse::Peers(TrackAnswer {
                    peers: vec![self.seed.clone()],
                    rack_size: 0,
                    rack_cap: 0,
                    epoch: 0,
                    revoked: vec![],
                    again_s: 1,
                }),
                _ => ControlResponse::Refused(Refusal { reason: RefusalReason::Token, text: "no such token".into() }),
            }
        }
        .boxed()
    }
}

/// A head, its image, and a place for files.
struct Site {
    cluster: Arc<Cluster>,
    seed: Member,
    door: ControlServer,
    dir: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        let cluster = Arc::new(Cluster::new(3 << 20));
        let seed = cluster.head(1).await;
        let handler = Door { cluster: Arc::clone(&cluster), seed: seed.info() };
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let door = ControlServer::start(listen, &SecretKey::from_seed([50; 32]), Arc::new(handler)).await.unwrap();
        Self { cluster, seed, door, dir: tempfile::tempdir().unwrap() }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn ticket(&self, token: &[u8], cluster: PublicKey) -> String {
        let head = HeadAddr { key: SecretKey::from_seed([50; 32]).public(), control: self.door.local_addrs()[0] };
        Ticket { heads: vec![head], cluster: vec![cluster], token: token.to_vec() }.to_string()
    }

    async fn fetch(&self, ticket: &str, timeout: Option<u64>) -> ExitCode {
        self.fetch_with(ticket, timeout, vec![]).await
    }

    async fn fetch_with(&self, ticket: &str, timeout: Option<u64>, have: Vec<PathBuf>) -> ExitCode {
        run(FetchArgs { have, ..self.args(ticket, timeout) }).await.unwrap()
    }

    /// Bytes that were fetched for a file that had nothing but this cache.
    async fn fetch_cached(&self, cache: &Path) -> u64 {
        let ticket = self.ticket(b"good", self.cluster.public());
        let before = self.seed.swarm.summary(&self.cluster.version()).served;
        let exit = run(FetchArgs { cache: Some(cache.into()), ..self.args(&ticket, None) }).await.unwrap();
        assert_eq!(exit, Exit::Ok.into());
        assert!(fs::read(self.out()).unwrap() == self.cluster.blob);
        fs::remove_file(self.out()).unwrap();
        self.seed.swarm.summary(&self.cluster.version()).served - before
    }

    fn args(&self, ticket: &str, timeout: Option<u64>) -> FetchArgs {
        let file = self.dir.path().join("ticket");
        fs::write(&file, ticket).unwrap();
        FetchArgs {
            ticket: file,
            image: None,
            out: self.out(),
            have: vec![],
            cache: None,
            cache_gib: 1,
            seed: 0,
            upload: Cap::NONE,
            download: Cap::NONE,
            dscp: Dscp::default(),
            listen: Some("127.0.0.1:0".parse().unwrap()),
            timeout,
            json: true,
        }
    }

    fn left_overs(&self) -> bool {
        Path::new(&self.dir.path().join(".image.wulfpack")).exists()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_becomes_a_file() {
    let site = Site::new().await;
    let exit = site.fetch(&site.ticket(b"good", site.cluster.public()), None).await;
    assert_eq!(exit, Exit::Ok.into());
    assert!(fs::read(site.out()).unwrap() == site.cluster.blob);
    assert!(!site.left_overs());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_fetch_left_is_not_fetched_again() {
    let site = Site::new().await;
    let dir = site.dir.path().join(".image.wulfpack");
    let cluster = &site.cluster;
    let store = FetchStore::create(&dir, &cluster.signed, cluster.header.clone()).unwrap();
    cluster.fill(&store, Run { first: 0, count: cluster.units() - 1 });
    let last = u64::from(store.geometry().len(cluster.units() - 1).unwrap());
    drop(store);
    let exit = site.fetch(&site.ticket(b"good", cluster.public()), None).await;
    assert_eq!(exit, Exit::Ok.into());
    assert!(fs::read(site.out()).unwrap() == cluster.blob);
    assert_eq!(site.seed.swarm.summary(&cluster.version()).served, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_whole_needs_only_its_name() {
    let site = Site::new().await;
    let cluster = &site.cluster;
    let dir = site.dir.path().join(".image.wulfpack");
    let store = FetchStore::create(&dir, &cluster.signed, cluster.header.clone()).unwrap();
    cluster.fill(&store, Run { first: 0, count: cluster.units() });
    drop(store);
    let exit = site.fetch(&site.ticket(b"good", cluster.public()), None).await;
    assert_eq!(exit, Exit::Ok.into());
    assert!(fs::read(site.out()).unwrap() == cluster.blob);
    assert_eq!(site.seed.swarm.summary(&cluster.version()).served, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_exit_code_and_leaves_no_file() {
    let site = Site::new().await;
    let ours = site.cluster.public();
    assert_eq!(site.fetch("no ticket", None).await, Exit::Usage.into());
    assert_eq!(site.fetch(&site.ticket(b"bad", ours), None).await, Exit::Refused.into());
    let other = SecretKey::from_seed([77; 32]).public();
    assert_eq!(site.fetch(&site.ticket(b"good", other), None).await, Exit::Untrusted.into());
    assert!(!site.out().exists() && !site.left_overs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_cannot_complete_ends_in_time_and_keeps_what_it_has() {
    let site = Site::new().await;
    site.seed.swarm.shutdown().await;
    let exit = site.fetch(&site.ticket(b"good", site.cluster.public()), Some(1)).await;
    assert_eq!(exit, Exit::Timeout.into());
    assert!(!site.out().exists() && site.left_overs());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_an_older_version_lacks_is_fetched() {
    let site = Site::new().await;
    let (old, len) = (site.dir.path().join("old"), 2 << 20);
    fs::write(&old, &site.cluster.blob[..len]).unwrap();
    let (mut shared, mut end) = (0, 0);
    cut(&site.cluster.blob[..], |chunk| {
        end += chunk.len();
        shared += if end <= len { chunk.len() as u64 } else { 0 };
    })
    .unwrap();
    let exit = site.fetch_with(&site.ticket(b"good", site.cluster.public()), None, vec![old]).await;
    assert_eq!(exit, Exit::Ok.into());
    assert!(fs::read(site.out()).unwrap() == site.cluster.blob);
    let served = site.seed.swarm.summary(&site.cluster.version()).served;
    assert!(shared > 0);
    assert_eq!(served, site.cluster.transferred() - shared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_does_not_cost_the_ticket() {
    let site = Site::new().await;
    let missing = site.dir.path().join("missing");
    let ticket = site.ticket(b"good", site.cluster.public());
    assert_eq!(site.fetch_with(&ticket, None, vec![missing]).await, Exit::Usage.into());
    assert_eq!(site.fetch(&ticket, None).await, Exit::Ok.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_saves_what_it_holds_and_nothing_bad_comes_out_of_it() {
    let site = Site::new().await;
    let cache = site.dir.path().join("cache");
    let table = site.cluster.transferred() - site.cluster.blob.len() as u64;
    assert_eq!(site.fetch_cached(&cache).await, site.cluster.transferred());
    assert_eq!(site.fetch_cached(&cache).await, table);
    let pack = || {
        let files = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|kind| kind == "pack")).collect::<Vec<_>>()
    };
    let [bad] = &pack()[..] else { panic!("{:?}", pack()) };
    let mut bytes = fs::read(bad).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(bad, bytes).unwrap();
    let fetched = site.fetch_cached(&cache).await - table;
    assert!(fetched > 0 && fetched <= u64::from(CHUNK_MAX), "one chunk was bad, {fetched} bytes were fetched");
    assert_eq!(site.fetch_cached(&cache).await, table);
}
