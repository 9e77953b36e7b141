//! What services ask for, answered from registry, image library and overlays.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use wulfpack_shared::id::{Hash, Mac, NodeName, VersionId};
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::image::SignedHeader;
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::overlay::Bundle;
use wulfpack_shared::time::UnixTime;

use crate::boot::SignedLoader;
use crate::config::Config;
use crate::fleet::{FleetHandle, Input, Severity};
use crate::http::{BootVersion, Tokens, VersionFile, Versions};
use crate::image::{Library, Version, head_loader, token_archive};
use crate::join::{Images, NextBoots, Overlays, Registry, TokenMaker};
use crate::overlay::{Digest, Facts, Renderer, read_authorized_keys};
use crate::registry::{ImageRef, Node, RegistryWatcher, Snapshot};

/// What is refused to one asker within this time is told once, and no more than so many refusals are.
const REFUSAL_PAUSE: Duration = Duration::from_secs(60);
const REFUSALS_MAX: usize = 256;

impl Registry for RegistryWatcher {
    fn snapshot(&self) -> Arc<Snapshot> {
        Self::snapshot(self)
    }

    fn look(&self) -> BoxFuture<'_, Arc<Snapshot>> {
        Box::pin(Self::look(self))
    }
}

/// Image versions, read from the library at each question: what was built or activated counts at once.
#[derive(Clone, Debug)]
pub(super) struct Catalogue(pub(super) Arc<Library>);

impl Catalogue {
    fn version(&self, image: &ImageRef) -> Result<Version, String> {
        let version = match image.version {
            Some(id) => self.0.version(&image.name, id),
            None => self.0.active(&image.name),
        };
        version.map_err(|error| error.to_string())
    }
}

impl Images for Catalogue {
    fn header(&self, image: &ImageRef) -> Result<SignedHeader, String> {
        Ok(self.version(image)?.signed().clone())
    }
}

impl Versions for Catalogue {
    fn active(&self, image: &ImageRef) -> Result<BootVersion, String> {
        let version = self.version(image)?;
        Ok(BootVersion { id: version.id(), header: Arc::new(version.header().clone()) })
    }

    fn any(&self) -> Option<ImageRef> {
        let images = self.0.list().ok()?.into_iter();
        let mut active = images.filter(|image| self.0.active(&image.name).is_ok());
        active.next().map(|image| ImageRef { name: image.name, version: None })
    }

    fn read(&self, version: VersionId, release: &str, file: VersionFile) -> Result<Option<Vec<u8>>, String> {
        let images = self.0.list().map_err(|error| error.to_string())?;
        let image = images.into_iter().find(|image| image.versions.iter().any(|known| known.id == version));
        let Some(image) = image else { return Ok(None) };
        let version = self.0.version(&image.name, version).map_err(|error| error.to_string())?;
        let path = match file {
            VersionFile::Kernel => version.kernel(release),
            VersionFile::Modules => version.modules(release),
        };
        path.map(|path| fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))).transpose()
    }

    fn signed_loader(&self, image: Option<&ImageRef>, loader: SignedLoader) -> Result<Bytes, String> {
        let version = image.map(|image| self.version(image)).transpose()?;
        match version.and_then(|version| version.loader(loader)) {
            Some(path) => fs::read(&path).map(Bytes::from).map_err(|error| format!("{}: {error}", path.display())),
            None => head_loader(Path::new("/"), loader).map_err(|error| error.to_string()),
        }
    }
}

/// Join tokens as initramfs archives. A boot is told from the next by the beginning of its record.
#[derive(Clone, Debug)]
pub(super) struct BootTokens {
    pub(super) maker: TokenMaker,
    pub(super) next_boots: NextBoots,
    pub(super) fleet: FleetHandle,
    pub(super) clock: ClusterClock,
    pub(super) refused: Arc<Refused>,
}

impl Tokens for BootTokens {
    fn token(&self, node: &NodeName, mac: Mac, shown: Option<Duration>) -> Result<Vec<u8>, String> {
        let now = self.clock.now();
        let (approved, begun) = self
            .fleet
            .look(|fleet| (fleet.approved(node, mac, now), fleet.of(node).next_back().map(|boot| boot.started)));
        // Who asks from a node that is up may be any user of it.
        let since = approved.or(shown.map(|age| now - age));
        let joined = |since| self.fleet.look(|fleet| fleet.of(node).any(|boot| boot.joined >= Some(since)));
        if since.is_some_and(joined) {
            return Err(format!("node {node} has joined since it showed that it boots: boot it again"));
        }
        let token = match approved {
            Some(approved) => self.maker.for_approved(node, mac, approved),
            None => self.maker.for_boot(node, mac, begun.unwrap_or(now), now),
        };
        Ok(token_archive(&token))
    }

    fn discovery(&self, mac: Mac, shown: Option<Duration>, trusted: bool, runs: Hash) -> Result<Vec<u8>, String> {
        let now = self.clock.now();
        let exchange = shown.map_or(now, |age| now - age);
        Ok(token_archive(&self.maker.for_discovery(exchange, (mac, trusted, runs), now)))
    }

    fn refused(&self, node: &NodeName, from: IpAddr, why: &str) {
        if self.refused.is_news(node, from, self.clock.now()) {
            let text = format!("{from} asked for the join token of {node} and did not get it: {why}");
            self.fleet.tell(Input::Event { severity: Severity::Warning, node: Some(node.clone()), text });
        }
    }

    fn approved(&self, node: &NodeName, mac: Mac, from: IpAddr) -> Result<(), String> {
        let now = self.clock.now();
        if self.fleet.look(|fleet| fleet.approved(node, mac, now)).is_some() {
            return Ok(());
        }
        match self.next_boots.claim(node, mac, from, now) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => tracing::error!(%node, %error, "it is not known whether the node announced this boot"),
        }
        self.fleet.tell(Input::Waits { node: node.clone(), mac, addr: from });
        Err(format!("this boot has to be approved: \"wulf node approve {node}\" on the head lets it go on"))
    }
}

/// When administrators were last told of whom the token of which node was refused to.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<BTreeMap<(NodeName, IpAddr), UnixTime>>);

impl Refused {
    /// Whether it is told now: who asks again and again must not fill the list of events.
    fn is_news(&self, node: &NodeName, from: IpAddr, now: UnixTime) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, before| now.distance(*before) < REFUSAL_PAUSE);
        let news = told.len() < REFUSALS_MAX && !told.contains_key(&(node.clone(), from));
        if news {
            told.insert((node.clone(), from), now);
        }
        news
    }
}

/// Rendered overlays. What all nodes share is prepared once for each registry and each `authorized_keys`.
#[derive(Debug)]
pub(super) struct RenderedOverlays {
    config: Config,
    heads: Vec<IpAddr>,
    ssh: SecretKey,
    renderer: Renderer,
    prepared: Mutex<Option<Prepared>>,
}

/// Facts, and what they were made from.
#[derive(Debug)]
struct Prepared {
    snapshot: Arc<Snapshot>,
    keys: String,
    facts: Arc<Facts>,
}

impl RenderedOverlays {
    pub(super) fn new(config: Config, heads: Vec<IpAddr>, ssh: SecretKey) -> Self {
        let renderer = Renderer::of(&config.paths);
        Self { config, heads, ssh, renderer, prepared: Mutex::default() }
    }

    fn facts(&self, snapshot: &Arc<Snapshot>) -> Result<Arc<Facts>, String> {
        let path = self.config.paths.authorized_keys();
        let keys = read_authorized_keys(&self.config.paths);
        let keys = keys.map_err(|error| format!("{}: {error}", path.display()))?;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*prepared
            && Arc::ptr_eq(&known.snapshot, snapshot)
            && known.keys == keys
        {
            return Ok(Arc::clone(&known.facts));
        }
        self.renderer.retain(|name| snapshot.node(name).is_some());
        let facts = Arc::new(Facts::new(&self.config, snapshot, &self.heads, &keys, self.ssh.clone()));
        *prepared = Some(Prepared { snapshot: Arc::clone(snapshot), keys, facts: Arc::clone(&facts) });
        Ok(facts)
    }
}

impl Overlays for RenderedOverlays {
    fn render(&self, node: &Node, snapshot: &Arc<Snapshot>) -> Result<Vec<Bundle>, String> {
        let facts = self.facts(snapshot)?;
        self.renderer.render(node, &facts).map_err(|error| error.to_string())
    }

    fn digests(&self, nodes: &[Arc<Node>], snapshot: &Arc<Snapshot>) -> Vec<Result<Digest, String>> {
        let facts = match self.facts(snapshot) {
            Ok(facts) => facts,
            Err(error) => return nodes.iter().map(|_| Err(error.clone())).collect(),
        };
        // Each overlay is read once for all of them.
        let now = self.renderer.now();
        nodes.iter().map(|node| now.digest(node, &facts).map_err(|error| error.to_string())).collect()
    }
}
