//! What all services of a head share: state, members, registry, image library, swarm.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use wulfpack_shared::id::{NodeName, PublicKey};
use wulfpack_shared::identity::{Role, SecretKey, SignedMembership, TokenKey};
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::net::endpoint::DataSocket;
use wulfpack_shared::net::swarm::{Swarm, SwarmConfig, SwarmEvent};
use wulfpack_shared::net::tls::{Identity, Trust};
use wulfpack_shared::swarm;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::PeerInfo;

use super::places::Places;
use super::seed::Seeds;
use super::sources::{Catalogue, RenderedOverlays};
use crate::config::{ClusterKeys, Config, Keys};
use crate::discover::ClaimedRegistry;
use crate::fleet::{FleetHandle, Output};
use crate::image::Library;
use crate::join::{JoinOptions, JoinService, Members, TokenMaker, membership};
use crate::once::OnceBook;
use crate::orders::OrdersHandle;
use crate::overlay::Packer;
use crate::registry::{Defaults, History, RegistryWatcher, Snapshot};
use crate::store::Store;
use crate::trace::TraceHandle;
use crate::tracker::TrackerHandle;

/// What was opened while the process still had its privileges.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) keys: Keys,
    pub(super) places: Places,
    pub(super) store: Arc<dyn Store>,
    pub(super) library: Arc<Library>,
}

/// What all services share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Config,
    /// This head's own key.
    pub(super) head: SecretKey,
    /// The cluster's keys; changed by the administrator.
    pub(super) cluster: watch::Sender<Arc<ClusterKeys>>,
    /// Whom the data plane believes.
    pub(super) trust: Trust,
    pub(super) places: Places,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: ClusterClock,
    pub(super) fleet: FleetHandle,
    pub(super) orders: OrdersHandle,
    pub(super) once: OnceBook,
    pub(super) trace: TraceHandle,
    pub(super) overlays: Arc<RenderedOverlays>,
    pub(super) members: Members,
    pub(super) tracker: TrackerHandle,
    pub(super) tokens: TokenMaker,
    pub(super) token_key: TokenKey,
    /// With who has become which node.
    pub(super) registry: Arc<ClaimedRegistry>,
    pub(super) nodes: watch::Sender<Arc<Snapshot>>,
    pub(super) catalogue: Catalogue,
    pub(super) swarm: Arc<Swarm>,
    pub(super) seeds: Arc<Seeds>,
    pub(super) join: JoinService,
}

/// What is handed to exactly one task each.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) probes: mpsc::UnboundedReceiver<Output>,
    pub(super) swarm: mpsc::Receiver<SwarmEvent>,
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers from the system: {error}"))?;
    Ok(bytes)
}

/// This head's own certificate.
fn certificate(key: PublicKey, cluster: &ClusterKeys, now: UnixTime, epoch: u32) -> anyhow::Result<SignedMembership> {
    let name: NodeName = format!("head-{key:.16}").parse()?;
    Ok(cluster.certify(&membership(key, name, Role::Head, None, now, epoch)))
}

impl Core {
    /// Opens everything that listens to nobody but peers of the swarm.
    pub(super) async fn open(opened: Opened) -> anyhow::Result<(Self, Streams)> {
        let Opened { config, keys, places, store, library } = opened;
        let clock = ClusterClock::system();
        let token_key = TokenKey::new(store.token_key(random()?)?);
        let (fleet, probes) = FleetHandle::open(&*store, clock.clone())?;
        let members = Members::open(Arc::clone(&store))?;
        let (nodes_file, history) = (config.paths.nodes_file(), History::new(config.paths.history()));
        let registry = Arc::new(RegistryWatcher::start_with(&nodes_file, Defaults::from(&config), history)?);
        let registry = Arc::new(ClaimedRegistry::open(registry, &*store)?);
        let nodes = watch::Sender::new(registry.both());
        let trust = Trust::new(keys.cluster.trusted(clock.now()), clock.clone());
        let (swarm, events) = start_swarm(&config, &keys, &places, &trust, &members).context("the swarm")?;
        let swarm = Arc::new(swarm);
        let seeds = Arc::new(Seeds::new(Arc::clone(&library), Arc::clone(&swarm)));
        seeds.look().await;
        let tracker = TrackerHandle::new(random()?, config.racks.caps());
        let (key, addrs) = (keys.head.public(), places.data(config.ports.data));
        tracker.set_heads(vec![PeerInfo { key, addrs, rack: None, head: true }]);
        let heads = places.addresses.iter().map(|(address, _)| *address).collect();
        let overlays = Arc::new(RenderedOverlays::new(config.clone(), heads, keys.ssh.clone()));
        let catalogue = Catalogue(library);
        let orders = OrdersHandle::new(&clock, Duration::from_secs(config.update_interval.into()));
        let once = OnceBook::open(Arc::clone(&store))?;
        let Keys { cluster, head, ssh } = keys;
        let cluster = watch::Sender::new(Arc::new(cluster));
        let join = JoinService::new(JoinOptions {
            cluster: cluster.subscribe(),
            // Stable identities of nodes hang on the secret that is not rotated: that of their SSH host keys.
            identity: ssh,
            tokens: token_key.clone(),
            store: Arc::clone(&store),
            members: members.clone(),
            registry: Arc::clone(&registry) as _,
            images: Arc::new(catalogue.clone()),
            overlays: Arc::clone(&overlays) as _,
            packer: Packer::default(),
            tracker: tracker.clone(),
            fleet: fleet.clone(),
            orders: orders.clone(),
            once: once.clone(),
            clock: clock.clone(),
            domain: config.domain.clone(),
            tmpfs_dirs: config.tmpfs_dirs.clone(),
        });
        let tokens = TokenMaker::new(token_key.clone());
        let core = Self {
            orders,
            once,
            overlays,
            config,
            head,
            cluster,
            trust,
            places,
            store,
            trace: TraceHandle::new(clock.clone()),
            clock,
            fleet,
            members,
            tracker,
            tokens,
            token_key,
            registry,
            nodes,
            catalogue,
            swarm,
            seeds,
            join,
        };
        Ok((core, Streams { probes, swarm: events }))
    }

    /// The cluster's keys as they are now.
    pub(super) fn cluster_keys(&self) -> Arc<ClusterKeys> {
        Arc::clone(&self.cluster.borrow())
    }

    /// Gives this head a certificate of the newest key, and lets the data plane believe the keys that count now.
    pub(super) fn renew_own(&self) -> anyhow::Result<()> {
        let (keys, now) = (self.cluster_keys(), self.clock.now());
        self.trust.believe(keys.trusted(now));
        let certificate = certificate(self.head.public(), &keys, now, self.members.epoch())?;
        Ok(self.swarm.renew(&certificate)?)
    }
}

fn start_swarm(
    config: &Config,
    keys: &Keys,
    places: &Places,
    trust: &Trust,
    members: &Members,
) -> anyhow::Result<(Swarm, mpsc::Receiver<SwarmEvent>)> {
    // A head that starts again must not trust again whom it had cast out.
    trust.revoke(&members.revocations().borrow().keys);
    let certificate = certificate(keys.head.public(), &keys.cluster, trust.clock().now(), members.epoch())?;
    let identity = Identity::new(keys.head.clone(), &certificate, trust.clone())?;
    let bind = |addr| DataSocket::bind(addr, None);
    let sockets = places.with_port(config.ports.data).into_iter().map(bind).collect::<Result<_, _>>()?;
    let seed = u64::from_le_bytes(random()?);
    let engine = swarm::Config::head();
    let tuning = places.tuning.with(config.swarm.of_head());
    Ok(Swarm::start(SwarmConfig { identity, sockets, engine, tuning, seed })?)
}
