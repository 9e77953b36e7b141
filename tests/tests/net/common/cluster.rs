//! A cluster over loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc;
use wulfpack_shared::id::{PublicKey, VersionId};
use wulfpack_shared::identity::{Membership, Role, SecretKey, SignedMembership, SignedTime};
use wulfpack_shared::image::{Compression, Header, Part, Run, SignedHeader, TableBuilder, cut, verify};
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::net::endpoint::{DataEndpoint, DataSocket, Tuning};
use wulfpack_shared::net::store::{BLOB_FILE, FetchStore, SeedStore, UnitStore};
use wulfpack_shared::net::swarm::{Swarm, SwarmConfig, SwarmEvent};
use wulfpack_shared::net::tls::{Identity, Trust};
use wulfpack_shared::swarm::Config;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::PeerInfo;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A cluster with one image.
pub(crate) struct Cluster {
    key: SecretKey,
    dir: tempfile::TempDir,
    pub(crate) signed: SignedHeader,
    pub(crate) header: Header,
    pub(crate) blob: Vec<u8>,
}

/// A member of it.
pub(crate) struct Member {
    pub(crate) swarm: Swarm,
    events: mpsc::Receiver<SwarmEvent>,
    key: PublicKey,
    head: bool,
    dir: PathBuf,
}

impl Cluster {
    pub(crate) fn new(len: usize) -> Self {
        Self::of(1, len)
    }

    pub(crate) fn foreign(len: usize) -> Self {
        Self::of(2, len)
    }

    fn of(seed: u8, len: usize) -> Self {
        let key = SecretKey::from_seed([seed; 32]);
        let dir = tempfile::tempdir().unwrap();
        let mut blob = vec![0; len];
        ChaCha8Rng::seed_from_u64(7).fill_bytes(&mut blob);
        let mut table = TableBuilder::default();
        cut(&blob[..], |chunk| table.push(&chunk)).unwrap();
        let (table, count, pages) = table.finish().unwrap();
        let name = "debian".parse().unwrap();
        let header = Header::new(name, Part::of(&blob), Compression::Gzip, 1, count, pages, vec![], "test".into());
        std::fs::write(dir.path().join("seed.blob"), &blob).unwrap();
        std::fs::write(dir.path().join("seed.table"), &table).unwrap();
        let signed = SignedHeader::sign(&header, &key).unwrap();
        Self { key, dir, signed, header, blob }
    }

    pub(crate) fn version(&self) -> VersionId {
        self.signed.id()
    }

    pub(crate) fn units(&self) -> u32 {
        wulfpack_shared::image::Units::of(&self.header).total()
    }

    /// Bytes of all units.
    pub(crate) fn transferred(&self) -> u64 {
        let units = wulfpack_shared::image::Units::of(&self.header);
        units.table_len + units.blob_len
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.key.public()
    }

    pub(crate) fn time(&self, nonce: &[u8; 16]) -> SignedTime {
        SignedTime::sign(NOW, nonce, &self.key)
    }

    pub(crate) fn certificate(&self, subject: PublicKey, name: &str, role: Role) -> SignedMembership {
        let membership = Membership {
            subject,
            name: name.parse().unwrap(),
            role,
            rack: None,
            not_before: UnixTime::from_secs(NOW.as_secs() - 1000),
            not_after: UnixTime::from_secs(NOW.as_secs() + 1000),
            epoch: 0,
        };
        SignedMembership::sign(&membership, &self.key)
    }

    /// Stores these units.
    pub(crate) fn fill(&self, store: &FetchStore, run: Run) {
        let seed = self.seed_store();
        store.geometry().set_table(seed.geometry().table().unwrap().clone());
        for unit in run.iter() {
            let bytes = verify(&seed.geometry().hash(unit).unwrap(), seed.read(unit).unwrap()).unwrap();
            store.write(unit, &bytes).unwrap();
        }
    }

    fn identity(&self, n: u8, role: Role) -> Identity {
        let secret = SecretKey::from_seed([100 + n; 32]);
        let certificate = self.certificate(secret.public(), &format!("n{n}"), role);
        let trust = Trust::new(vec![self.key.public()], ClusterClock::at(NOW));
        Identity::new(secret, &certificate, trust).unwrap()
    }

    /// A bare endpoint with a node's certificate, to be rude with.
    pub(crate) fn endpoint(&self, n: u8) -> DataEndpoint {
        DataEndpoint::start(vec![socket()], self.identity(n, Role::Node), Tuning::default(), 16).unwrap()
    }

    /// The same with a certificate for one image.
    pub(crate) fn anonymous_endpoint(&self, n: u8, image: &str) -> DataEndpoint {
        let role = Role::Anonymous { image: image.parse().unwrap() };
        DataEndpoint::start(vec![socket()], self.identity(n, role), Tuning::default(), 16).unwrap()
    }

    /// Flips a byte of the seeds' blob, and says which unit that is in.
    pub(crate) fn spoil(&self, at: u64) -> u32 {
        self.write_blob(at, !self.blob[at as usize]);
        let seed = self.seed_store();
        let entries = seed.geometry().table().unwrap().entries().to_vec();
        let chunk = entries.iter().position(|entry| (entry.offset..entry.offset + u64::from(entry.len)).contains(&at));
        wulfpack_shared::image::Units::of(&self.header).pages + chunk.unwrap() as u32
    }

    /// Undoes it.
    pub(crate) fn mend(&self, at: u64) {
        self.write_blob(at, self.blob[at as usize]);
    }

    fn write_blob(&self, at: u64, byte: u8) {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::File::options().write(true).open(self.dir.path().join("seed.blob")).unwrap();
        file.write_all_at(&[byte], at).unwrap();
    }

    /// The same with a certificate of the cluster `home`. It believes both clusters: it is this one's members that must refuse.
    pub(crate) fn outsider(&self, home: &Self, n: u8) -> DataEndpoint {
        let secret = SecretKey::from_seed([100 + n; 32]);
        let certificate = home.certificate(secret.public(), &format!("n{n}"), Role::Node);
        let trust = Trust::new(vec![home.public(), self.public()], ClusterClock::at(NOW));
        let identity = Identity::new(secret, &certificate, trust).unwrap();
        DataEndpoint::start(vec![socket()], identity, Tuning::default(), 16).unwrap()
    }

    fn seed_store(&self) -> SeedStore {
        let dir = self.dir.path();
        SeedStore::open(self.header.clone(), dir.join("seed.blob"), dir.join("seed.table")).unwrap()
    }

    pub(crate) async fn head(&self, n: u8) -> Member {
        let store = self.seed_store();
        let held = store.held();
        self.start(n, Role::Head, Config::head(), Arc::new(store), held).await
    }

    /// A node that holds everything, in a store that `wrap` makes.
    pub(crate) async fn seed<S: UnitStore + 'static>(&self, n: u8, wrap: impl FnOnce(SeedStore) -> S) -> Member {
        let store = self.seed_store();
        let held = store.held();
        self.start(n, Role::Node, Config::node(), Arc::new(wrap(store)), held).await
    }

    /// A member of another cluster with the same key takes part in this one's image too, and begins with nothing of it.
    pub(crate) async fn begin(&self, member: &Member, n: u8) {
        let store = FetchStore::create(&self.dir_of(n), &self.signed, self.header.clone()).unwrap();
        member.swarm.add_image(self.version(), Arc::new(store), vec![]).await.unwrap();
    }

    pub(crate) async fn node(&self, n: u8) -> Member {
        self.node_with(n, |store| store).await
    }

    pub(crate) async fn node_with<S: UnitStore + 'static>(&self, n: u8, wrap: impl FnOnce(FetchStore) -> S) -> Member {
        let store = FetchStore::create(&self.dir_of(n), &self.signed, self.header.clone()).unwrap();
        self.start(n, Role::Node, Config::node(), Arc::new(wrap(store)), vec![]).await
    }

    pub(crate) async fn anonymous(&self, n: u8, image: &str) -> Member {
        let store = FetchStore::create(&self.dir_of(n), &self.signed, self.header.clone()).unwrap();
        let role = Role::Anonymous { image: image.parse().unwrap() };
        self.start(n, role, Config::node(), Arc::new(store), vec![]).await
    }

    fn dir_of(&self, n: u8) -> PathBuf {
        self.dir.path().join(format!("node{n}"))
    }

    async fn start(&self, n: u8, role: Role, engine: Config, store: Arc<dyn UnitStore>, held: Vec<Run>) -> Member {
        let head = role == Role::Head;
        let identity = self.identity(n, role);
        let key = identity.key();
        let tuning = Tuning::default();
        let config = SwarmConfig { identity, sockets: vec![socket()], engine, tuning, seed: u64::from(n) };
        let (swarm, events) = Swarm::start(config).unwrap();
        swarm.add_image(self.version(), store, held).await.unwrap();
        Member { swarm, events, key, head, dir: self.dir_of(n) }
    }
}

fn socket() -> DataSocket {
    DataSocket::bind("127.0.0.1:0".parse().unwrap(), None).unwrap()
}

impl Member {
    pub(crate) fn key(&self) -> PublicKey {
        self.key
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.swarm.local_addr().unwrap()
    }

    pub(crate) fn info(&self) -> PeerInfo {
        PeerInfo { key: self.key, addrs: vec![self.addr()], rack: None, head: self.head }
    }

    pub(crate) fn blob(&self) -> Vec<u8> {
        std::fs::read(self.dir.join(BLOB_FILE)).unwrap()
    }

    /// Waits for an event that fits; others are passed over.
    pub(crate) async fn event(&mut self, fits: impl Fn(&SwarmEvent) -> bool) -> SwarmEvent {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the swarm ended");
                if fits(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the event did not come")
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            match ask() {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it did not come true")
}
