//! What boot loaders are handed, whatever protocol they ask by: scripts, kernels, archives, tokens, boot programs. Who may have
//! what is decided here.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use wulfpack_shared::id::{Mac, NodeName, VersionId};
use wulfpack_shared::limits::TOKEN_LIFETIME;
use wulfpack_shared::time::Mono;
use wulfpack_shared::wire::Phase;

use super::cache::{FileCache, LoadError};
use super::closures::Closures;
use super::neighbour;
use super::once::{WITHOUT_IMAGE, wall_clock};
use super::sources::{AgentArchive, Neighbours, Tokens, VersionFile, Versions};
use super::unknown::Unknown;
use crate::boot::{
    BootPlan, DEFAULT_TEMPLATE, DISCOVER_TEMPLATE, HeadSettings, InitramfsFormat, Loader, Programs, Scripts,
    SignedLoader, Visit, Waves, choose_kernel,
};
use crate::config::TokenEvidence;
use crate::dhcp::Evidence;
use crate::dhcp6::mac_of_address;
use crate::fleet::{BootEvent, BootEvents};
use crate::image::PciId;
use crate::once::OnceBook;
use crate::registry::{Node, Snapshot};

/// Most bytes of kernels and modules that are kept in memory: a few versions with a few kernels each.
const CACHE_MAX: usize = 512 * 1024 * 1024;

/// What events call the last archive of a boot.
const AGENT: &str = "agent";

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
    /// Network boot programs.
    pub programs: Arc<Programs>,
    /// Boot scripts.
    pub scripts: Arc<Scripts>,
    /// How many machines load kernel and archives at a time; 0: no limit.
    pub wave: usize,
    /// What nodes boot once.
    pub once: OnceBook,
    /// Nodes that give kernel and modules, where the administrator accepts that.
    pub neighbours: Option<Arc<dyn Neighbours>>,
    /// Machines that no node is.
    pub unknown: Unknown,
}

/// The two ends of an exchange; an extension of every HTTP request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The machine.
    pub remote: SocketAddr,
    /// Our address of the HTTP boot service, as the machine knows it.
    pub local: SocketAddr,
    /// What tokens are given on at that address.
    pub proof: TokenEvidence,
}

/// Why something is not handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing.
    Missing(&'static str),
    /// This machine does not get it.
    Forbidden(String),
    /// Something is wrong on the head.
    Failed(String),
}

/// Something to hand out, and what the fleet is told when it is.
pub type Handout = Result<(Bytes, Option<BootEvent>), Refusal>;

/// What hands out; one for all protocols.
#[derive(Debug)]
pub struct Desk {
    pub(super) services: Services,
    files: FileCache,
    closures: Closures,
    waves: Mutex<Waves>,
    started: Instant,
}

impl Desk {
    /// A desk with an empty memory.
    pub fn new(services: Services) -> Self {
        let waves = Mutex::new(Waves::new(services.wave));
        Self {
            services,
            files: FileCache::new(CACHE_MAX),
            closures: Closures::default(),
            waves,
            started: Instant::now(),
        }
    }

    /// Something was handed out: the fleet is told, and the machine's place in its wave may be free.
    pub fn record(&self, event: BootEvent) {
        let agent = event.phase == Phase::Kernel && event.detail == AGENT;
        if agent {
            self.waves().done(event.mac);
        }
        self.use_up(&event, agent);
        self.services.events.record(event);
    }

    fn waves(&self) -> MutexGuard<'_, Waves> {
        self.waves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Mono {
        Mono(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn node(&self, mac: Mac) -> Option<Arc<Node>> {
        self.services.nodes.borrow().by_mac(mac).cloned()
    }

    /// The boot script of a machine; one that says why it waits, where it cannot boot.
    pub async fn script(&self, loader: Loader, peer: Peer, mac: Mac) -> Handout {
        let node = self.node(mac);
        let (text, event) = match self.boot(loader, peer, mac, node.as_deref()).await {
            Ok((text, detail)) => (Ok(text), Some(self.event(Phase::Script, mac, peer, detail))),
            Err(reason) => {
                match &node {
                    Some(node) => tracing::warn!(node = %node.name, %mac, %reason, "the node waits at its boot script"),
                    None => tracing::debug!(%mac, %reason, "boot script asked for by an unknown machine"),
                }
                (self.services.scripts.waiting(loader, peer.local, mac, &reason), None)
            }
        };
        let text = text.map_err(|error| Refusal::Failed(error.to_string()))?;
        Ok((text.into(), event))
    }

    /// The script that leads any loader to its own.
    pub fn autoexec(&self, loader: Loader, peer: Peer) -> Handout {
        let text = self.services.scripts.autoexec(loader, peer.local);
        Ok((text.map_err(|error| Refusal::Failed(error.to_string()))?.into(), None))
    }

    /// The script that boots the node, and what it boots; else what the machine waits for.
    async fn boot(
        &self,
        loader: Loader,
        peer: Peer,
        mac: Mac,
        node: Option<&Node>,
    ) -> Result<(String, String), String> {
        let Some(node) = node else { return self.discovery(loader, peer, mac).await };
        let scripts = &self.services.scripts;
        let chosen = self.chosen(loader, node);
        let node = chosen.as_ref().unwrap_or(node);
        let template = node.ipxe.as_deref().unwrap_or(DEFAULT_TEMPLATE);
        // An unknown template is told of below, when it is rendered.
        if !scripts.boots_image(loader, template) {
            let script = scripts.without_image(loader, template, (peer.local, mac), node.name.as_str());
            return Ok((script.map_err(|error| error.to_string())?, format!("{WITHOUT_IMAGE}{template}")));
        }
        // A node that is told to shows what it is, and goes on.
        let plan = self.plan(peer, mac, node, template == DISCOVER_TEMPLATE).await?;
        let script = scripts.boot(loader, template, &plan).map_err(|error| error.to_string())?;
        if peer.proof == TokenEvidence::Approve {
            // Asked here already, and last: a machine that cannot boot for another reason waits for that.
            self.approved(peer, mac, &node.name).await?;
        }
        self.admit(mac, node.name.as_str())?;
        Ok((script, format!("{}, kernel {}", plan.image, plan.release)))
    }

    /// Whether this machine may load now.
    pub(super) fn admit(&self, mac: Mac, who: &str) -> Result<(), String> {
        let admitted = self.waves().admit(self.now(), mac);
        admitted.map_err(|before| format!("{before} machines load before {who}, it waits for its turn"))
    }

    /// What a machine boots.
    pub(super) async fn plan(&self, peer: Peer, mac: Mac, node: &Node, discover: bool) -> Result<BootPlan, String> {
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
        let six = peer.local.is_ipv6();
        let neighbours = self.services.neighbours.as_ref().map(|all| all.of(node, version.id, six)).unwrap_or_default();
        let visit = Visit {
            node,
            mac,
            version: version.id,
            header: &version.header,
            format: InitramfsFormat::of(&modules).unwrap_or(InitramfsFormat::Plain),
            base: peer.local,
            now: wall_clock(),
            neighbours: &neighbours,
            discover,
        };
        let head = Arc::clone(&self.services.head.borrow());
        BootPlan::new(&head, &visit).map_err(|error| error.to_string())
    }

    /// The join token of a machine's boot.
    pub async fn token(self: &Arc<Self>, peer: Peer, mac: Mac) -> Handout {
        let Some(node) = self.node(mac) else { return self.discovery_token(peer, mac).await };
        let work = {
            let (desk, name) = (Arc::clone(self), node.name.clone());
            move || {
                let shown = desk.proven(peer, mac, &name);
                let token = shown.and_then(|shown| desk.services.tokens.token(&name, mac, shown));
                token.inspect_err(|why| desk.services.tokens.refused(&name, peer.remote.ip().to_canonical(), why))
            }
        };
        let made = tokio::task::spawn_blocking(work).await;
        match made.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(archive) => Ok((archive.into(), None)),
            Err(reason) => {
                tracing::warn!(node = %node.name, %mac, remote = %peer.remote.ip(), %reason, "no join token");
                Err(Refusal::Forbidden(reason))
            }
        }
    }

    /// A file of an image version. Of modules only those are given that a machine with this `card` needs, where it says its own.
    pub async fn file(
        &self,
        peer: Peer,
        version: VersionId,
        release: &str,
        file: VersionFile,
        card: Option<PciId>,
    ) -> Handout {
        let found = match (self.read(version, release, file).await, card.filter(|_| file == VersionFile::Modules)) {
            (Ok(bytes), Some(card)) => Ok(self.closures.of(version, release, card, bytes).await),
            (found, _) => found.map(|bytes| (bytes, String::new())),
        };
        match found {
            Ok((bytes, whom)) => Ok((bytes, self.kernel_event(peer, format!("{} {release}{whom}", file.name())))),
            Err(LoadError::Missing) => Err(Refusal::Missing("no kept image version has this file")),
            Err(LoadError::Failed(reason)) => {
                tracing::error!(%version, release, name = file.name(), %reason, "file of an image version");
                Err(Refusal::Failed(reason))
            }
        }
    }

    /// The agent's archive.
    pub async fn agent(&self, peer: Peer, format: InitramfsFormat) -> Handout {
        let source = Arc::clone(&self.services.agent);
        let packed = tokio::task::spawn_blocking(move || source.archive(format)).await;
        match packed.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(bytes) => Ok((bytes, self.kernel_event(peer, AGENT.into()))),
            Err(reason) => {
                tracing::error!(%reason, "the agent's archive");
                Err(Refusal::Failed(reason))
            }
        }
    }

    /// A network boot program.
    pub async fn program(&self, peer: Peer, name: &str) -> Handout {
        let known = self.services.programs.get(name).map(|(name, bytes)| (name.to_owned(), bytes.clone()));
        let found = match known {
            None => self.named_by_a_node(name).await,
            known => known,
        };
        let Some((name, bytes)) = found else { return Err(Refusal::Missing("this head has no such boot program")) };
        Ok((bytes, self.machine_event(Phase::Nbp, peer, name)))
    }

    /// What the registry gives a node as its boot program; nothing else in those directories is anybody's business.
    async fn named_by_a_node(&self, asked: &str) -> Option<(String, Bytes)> {
        let asked = asked.trim_start_matches('/');
        let name = {
            let nodes = self.services.nodes.borrow();
            let mut programs = nodes.nodes().filter_map(|node| node.boot.program.as_deref());
            programs.find(|name| name.trim_start_matches('/') == asked)?.to_owned()
        };
        let (programs, file) = (Arc::clone(&self.services.programs), name.clone());
        let bytes = tokio::task::spawn_blocking(move || programs.read(&file)).await.ok().flatten()?;
        Some((name, bytes))
    }

    /// shim or GRUB for a machine: those of its image, whose kernel they trust, else the head's.
    pub async fn signed_loader(&self, peer: Peer, mac: Mac, loader: SignedLoader) -> Handout {
        let image = match self.node(mac) {
            Some(node) => Some(node.image.clone()),
            None => self.seat_image(peer, mac).await,
        };
        let Some(image) = image else { return Err(Refusal::Missing("no node has this MAC address")) };
        let versions = Arc::clone(&self.services.versions);
        let found = tokio::task::spawn_blocking(move || versions.signed_loader(image.as_ref(), loader)).await;
        match found.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(bytes) => Ok((bytes, Some(self.event(Phase::Nbp, mac, peer, loader.name().to_owned())))),
            Err(reason) => {
                tracing::error!(%mac, %reason, "signed boot loader");
                Err(Refusal::Failed(reason))
            }
        }
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
        match peer.proof {
            TokenEvidence::Approve => {
                self.services.tokens.approved(node, mac, peer.remote.ip().to_canonical()).map(|()| None)
            }
            TokenEvidence::Dhcp | TokenEvidence::Neighbour => self.evidence(peer, mac),
        }
    }

    /// The same without an administrator's word.
    pub(super) fn evidence(&self, peer: Peer, mac: Mac) -> Result<Option<Duration>, String> {
        let address = peer.remote.ip().to_canonical();
        match peer.proof {
            TokenEvidence::Dhcp => match self.services.evidence.age(mac, address, Instant::now()) {
                Some(age) if age <= TOKEN_LIFETIME => Ok(Some(age)),
                Some(age) => Err(format!("{address} was given to {mac} {} s ago: ask by DHCP again", age.as_secs())),
                None => Err(format!(
                    "this head's DHCP server has not given {address} to a boot loader of {mac}: boot it again"
                )),
            },
            TokenEvidence::Neighbour => match address {
                IpAddr::V4(four) if neighbour::mac_of(four) == Some(mac) => Ok(None),
                // An address of the link that is made of the hardware address proves as little, and as much.
                IpAddr::V6(six) if mac_of_address(six) == Some(mac) => Ok(None),
                _ => Err(format!("the neighbour table of this head does not have {mac} at {address}")),
            },
            TokenEvidence::Approve => Ok(None),
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

    fn kernel_event(&self, peer: Peer, detail: String) -> Option<BootEvent> {
        self.machine_event(Phase::Kernel, peer, detail)
    }

    /// Files are asked for without a name: the machine is known by its address.
    fn machine_event(&self, phase: Phase, peer: Peer, detail: String) -> Option<BootEvent> {
        let ip = peer.remote.ip().to_canonical();
        let mac = self.services.evidence.mac_of(ip).or_else(|| {
            let node = self.services.nodes.borrow().by_ip(ip).cloned()?;
            let of = |interface: &&crate::registry::Interface| interface.ip == Some(ip) || interface.ip6 == Some(ip);
            node.interfaces.iter().find(of)?.mac
        })?;
        Some(self.event(phase, mac, peer, detail))
    }
}
