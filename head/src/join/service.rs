//! Answers agents: join, track, report, renew, announce a reboot, wait for orders.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;
use wulfpack_shared::id::{NodeName, PublicKey};
use wulfpack_shared::identity::{Membership, Role, SecretKey, SignedMembership, TokenBody, TokenKey};
use wulfpack_shared::image::{Header, HeaderError, SignedHeader, Units};
use wulfpack_shared::limits::{CERTIFICATE_MAX, NEIGHBOURS, OVERLAYS_MAX};
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::overlay::Bundle;
use wulfpack_shared::wire::{
    ControlRequest, ControlResponse, JoinAnswer, JoinRequest, NodeSettings, Refusal, RefusalReason, RenewAnswer,
    RenewRequest, ReportBatch, TrackImage, TrackRequest, decode,
};

use super::machine::{self, Admission, Alarm, Decision, Facts, RenewFacts};
use super::{Members, NextBoots};
use crate::boot::choose_kernel;
use crate::config::ClusterKeys;
use crate::fleet::{FleetHandle, Input, Joined};
use crate::once::OnceBook;
use crate::orders::OrdersHandle;
use crate::overlay::{Digest, Packer};
use crate::registry::{ImageRef, Node, Snapshot};
use crate::store::{Member, Redeemed, Store, StoreError};
use crate::tracker::TrackerHandle;

/// Longest text of a request that is kept, in bytes.
const TEXT_MAX: usize = 64;

/// Where image versions come from.
pub trait Images: Send + Sync + Debug {
    /// The header of the version that `image` means now. The error is for the person at the node's console.
    fn header(&self, image: &ImageRef) -> Result<SignedHeader, String>;
}

/// Where rendered overlays come from.
pub trait Overlays: Send + Sync + Debug {
    /// All overlays of a node, in the order in which they are applied. The error is for the person at the node's console.
    fn render(&self, node: &Node, snapshot: &Arc<Snapshot>) -> Result<Vec<Bundle>, String>;

    /// What the overlays of these nodes come to.
    fn digests(&self, nodes: &[Arc<Node>], snapshot: &Arc<Snapshot>) -> Vec<Result<Digest, String>> {
        nodes.iter().map(|node| self.render(node, snapshot).map(|bundles| Digest::of_bundles(&bundles))).collect()
    }
}

/// Where the registry comes from.
pub trait Registry: Send + Sync + Debug {
    /// The registry now.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// The registry after a look at what an administrator may have written a moment ago, where that takes a look.
    fn look(&self) -> BoxFuture<'_, Arc<Snapshot>> {
        Box::pin(std::future::ready(self.snapshot()))
    }
}

/// All that the service needs.
#[derive(Debug)]
pub struct JoinOptions {
    /// Sign certificates, time and manifests.
    pub cluster: watch::Receiver<Arc<ClusterKeys>>,
    /// Secret from which the stable identities of nodes are derived.
    pub identity: SecretKey,
    /// Reads tokens.
    pub tokens: TokenKey,
    /// Redemptions.
    pub store: Arc<dyn Store>,
    /// Members.
    pub members: Members,
    /// The registry.
    pub registry: Arc<dyn Registry>,
    /// Image versions.
    pub images: Arc<dyn Images>,
    /// Overlays.
    pub overlays: Arc<dyn Overlays>,
    /// What of them many nodes get travels packed.
    pub packer: Packer,
    /// Peers.
    pub tracker: TrackerHandle,
    /// Boots.
    pub fleet: FleetHandle,
    /// What running nodes are told.
    pub orders: OrdersHandle,
    /// What nodes boot once.
    pub once: OnceBook,
    /// The head's time.
    pub clock: ClusterClock,
    /// Domain appended to node names without a dot; empty for none.
    pub domain: String,
    /// Directories of every node that become tmpfs of their own.
    pub tmpfs_dirs: Vec<String>,
}

/// Answers agents.
#[derive(Clone, Debug)]
pub struct JoinService(pub(super) Arc<JoinOptions>);

pub(super) fn refusal(reason: RefusalReason, text: impl Into<String>) -> Refusal {
    Refusal { reason, text: text.into() }
}

/// The state file is in trouble: the log says how, the node tries again.
pub(super) fn busy(error: &StoreError) -> Refusal {
    tracing::error!(%error, "a request of an agent could not be answered");
    refusal(RefusalReason::Busy, "the head cannot read or write its state; its log says why")
}

impl JoinService {
    /// A service with these parts.
    pub fn new(options: JoinOptions) -> Self {
        Self(Arc::new(options))
    }

    fn keys(&self) -> Arc<ClusterKeys> {
        Arc::clone(&self.0.cluster.borrow())
    }

    fn next_boots(&self) -> NextBoots {
        let JoinOptions { store, members, fleet, .. } = &*self.0;
        NextBoots::new(Arc::clone(store), members.clone(), fleet.clone())
    }

    /// Answers a join; blocks for as long as rendering and a flush of the disk take.
    pub fn join(&self, key: PublicKey, seen: IpAddr, request: &JoinRequest) -> Result<JoinAnswer, Refusal> {
        let (parts, now) = (&*self.0, self.0.clock.now());
        let snapshot = parts.registry.snapshot();
        let token = parts.tokens.open(&request.token, now);
        let revoked = parts.members.is_revoked(&key);
        let bound = match &token {
            Ok(body) => parts.store.redeemers(body.nonce).map_err(|error| busy(&error))?,
            Err(_) => vec![],
        };
        let (token, purpose, snapshot) = (token.as_ref(), &request.purpose, &snapshot);
        let admission = self.settle(&Facts { key, purpose, token, bound: &bound, revoked, snapshot })?;
        let admission = self.once(admission, request)?;
        let header = parts.images.header(&admission.image).map_err(|why| refusal(RefusalReason::NoImage, why))?;
        let keys = self.keys();
        let no_image = |error: HeaderError| refusal(RefusalReason::NoImage, error.to_string());
        let header = keys.hand_out(&header).map_err(no_image)?;
        let kernels = header.verify(&[keys.public()]).map_err(no_image)?;
        // Everything that can be refused for the configuration's sake comes before the token is spent.
        let node = admission.settings.as_deref().map(|node| self.settings(node, snapshot, &kernels)).transpose()?;
        if let Ok(body) = token {
            self.redeem(body, &admission, Facts { key, purpose, token, bound: &[], revoked, snapshot })?;
        }
        if admission.settings.is_some() {
            self.next_boots().forget(&admission.name).map_err(|error| busy(&error))?;
        }
        let nonce = token.map_or([0; 16], |body| body.nonce);
        let certificate = self.certify(&keys, key, &admission, request, nonce)?;
        let (peers, track_after_s) = self.first_peers(key, seen, &admission, request, &header, &kernels);
        if admission.role == Role::Node {
            self.tell_joined(key, seen, &admission.name, request, &header);
        }
        let time = keys.time(parts.clock.now(), &request.nonce);
        Ok(JoinAnswer { time, certificate, image: header, node: node.map(Box::new), peers, track_after_s })
    }

    /// Decides, and acts on a refusal.
    fn settle(&self, facts: &Facts<'_>) -> Result<Admission, Refusal> {
        match machine::decide(facts) {
            Decision::Admit(admission) => Ok(admission),
            Decision::Refuse { refusal, alarm } => {
                alarm.map_or(Ok(()), |alarm| self.raise(alarm))?;
                Err(refusal)
            }
        }
    }

    fn raise(&self, alarm: Alarm) -> Result<(), Refusal> {
        let Alarm { severity, node, text, void } = alarm;
        tracing::warn!(node = node.as_ref().map(NodeName::as_str), "{text}");
        self.0.fleet.tell(Input::Event { severity, node, text });
        if void.is_empty() {
            return Ok(());
        }
        self.0.members.revoke(&void, self.0.clock.now()).map_err(|error| busy(&error))
    }

    /// Binds the key to the token. Another key may have been faster since the first look.
    fn redeem(&self, body: &TokenBody, admission: &Admission, facts: Facts<'_>) -> Result<(), Refusal> {
        let outcome = self.0.store.redeem(body.nonce, admission.places, body.expires, facts.key);
        match outcome.map_err(|error| busy(&error))? {
            Redeemed::First | Redeemed::Again => Ok(()),
            Redeemed::Taken { by } => self.settle(&Facts { bound: &by, ..facts }).map(drop),
        }
    }

    fn certify(
        &self,
        keys: &ClusterKeys,
        key: PublicKey,
        admission: &Admission,
        request: &JoinRequest,
        nonce: [u8; 16],
    ) -> Result<SignedMembership, Refusal> {
        let (parts, now) = (&*self.0, self.0.clock.now());
        let Admission { name, role, rack, .. } = admission.clone();
        let membership = machine::membership(key, name, role, rack, now, parts.members.epoch());
        let member = member(&membership, request.boot, nonce, now);
        parts.members.put(member).map_err(|error| busy(&error))?;
        Ok(keys.certify(&membership))
    }

    fn settings(&self, node: &Node, snapshot: &Arc<Snapshot>, header: &Header) -> Result<NodeSettings, Refusal> {
        let parts = &*self.0;
        let wrong = |why: String| refusal(RefusalReason::Configuration, why);
        let overlays = parts.overlays.render(node, snapshot).map_err(wrong)?;
        let len: usize = overlays.iter().map(Bundle::len).sum();
        if len > OVERLAYS_MAX {
            return Err(wrong(format!("the overlays of {} have {len} bytes, the limit is {OVERLAYS_MAX}", node.name)));
        }
        let kernel = choose_kernel(node, header).map_err(|error| refusal(RefusalReason::NoImage, error.to_string()))?;
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(|error| refusal(RefusalReason::Busy, error.to_string()))?;
        Ok(NodeSettings {
            name: node.name.clone(),
            hostname: hostname(&node.name, &parts.domain),
            machine_id: machine_id(&parts.identity, &node.name),
            entropy,
            root: node.root,
            root_percent: node.root_percent,
            tmpfs_dirs: parts.tmpfs_dirs.clone(),
            init: node.init.clone(),
            kernel: kernel.version.clone(),
            seed: node.seed,
            manners: node.manners,
            overlays: parts.packer.pack(overlays),
        })
    }

    fn first_peers(
        &self,
        key: PublicKey,
        seen: IpAddr,
        admission: &Admission,
        request: &JoinRequest,
        header: &SignedHeader,
        content: &Header,
    ) -> (Vec<wulfpack_shared::wire::PeerInfo>, u16) {
        let images = vec![TrackImage { image: header.id(), held: 0, total: Units::of(content).total() }];
        let data = request.data.clone();
        let request = TrackRequest { data, images, want: NEIGHBOURS, have: vec![], leaving: false };
        let answer = self.0.tracker.track(key, admission.rack.clone(), seen, request);
        // Those who join next should soon be known to those who joined first.
        (answer.peers, (answer.again_s / 2).max(1))
    }

    fn tell_joined(&self, key: PublicKey, addr: IpAddr, node: &NodeName, request: &JoinRequest, header: &SignedHeader) {
        let mut agent = request.agent.clone();
        agent.truncate(agent.floor_char_boundary(TEXT_MAX));
        let JoinRequest { boot, memory, clock_offset_ms, .. } = *request;
        let (node, image) = (node.clone(), header.id());
        self.0.fleet.tell(Input::Joined(Joined { node, key, boot, addr, image, agent, memory, clock_offset_ms }));
    }

    /// The member that this key is, or why it is none.
    pub(super) fn member(&self, key: &PublicKey) -> Result<Member, Refusal> {
        self.0.members.valid(key, self.0.clock.now()).ok_or_else(|| {
            refusal(
                RefusalReason::NotMember,
                "this key has no valid certificate: it has to join, or renew the one it has",
            )
        })
    }

    /// Announces a member and gives it peers.
    pub fn track(&self, key: PublicKey, seen: IpAddr, mut request: TrackRequest) -> Result<ControlResponse, Refusal> {
        let member = self.member(&key)?;
        if let Role::Anonymous { image } = member.role {
            let header = self.0.images.header(&ImageRef { name: image, version: None });
            let own = header.ok().map(|header| header.id());
            request.images.retain(|image| Some(image.image) == own);
        }
        Ok(ControlResponse::Peers(self.0.tracker.track(key, member.rack, seen, request)))
    }

    /// Takes a report; returns when it is in the store.
    async fn report(&self, key: PublicKey, addr: IpAddr, batch: ReportBatch) -> Result<ControlResponse, Refusal> {
        let member = self.member(&key)?;
        let through = batch.events.iter().map(|event| event.seq).max().unwrap_or(0);
        if member.role == Role::Node && member.boot == batch.boot {
            let node = member.name;
            if !self.0.fleet.tell_durably(Input::Report { node, addr, batch }).await {
                return Err(refusal(RefusalReason::Busy, "the head is shutting down"));
            }
        }
        // Others' reports have no boot to belong to: they are taken as read.
        Ok(ControlResponse::Recorded { through })
    }

    /// Renews a certificate.
    pub fn renew(&self, key: PublicKey, request: &RenewRequest) -> Result<RenewAnswer, Refusal> {
        let (parts, now) = (&*self.0, self.0.clock.now());
        let bad = |why: String| refusal(RefusalReason::NotMember, why);
        let shown = &request.certificate;
        let claimed: Membership =
            decode::<_, CERTIFICATE_MAX>(&shown.membership).map_err(|error| bad(error.to_string()))?;
        // Its time, and whether its signer still counts, are the machine's to judge; signature and subject are not.
        let (keys, at) = (self.keys(), now.min(claimed.not_after));
        let old = shown.verify(&keys.known(), &key, at).map_err(|error| bad(error.to_string()))?;
        let vouched = keys.trusted(now).contains(&shown.signer);
        let member_before = parts.members.find(&key);
        let known = member_before.as_ref().is_some_and(|member| member.name == old.name);
        let snapshot = parts.registry.snapshot();
        let revoked = parts.members.is_revoked(&key);
        let facts = RenewFacts { membership: &old, vouched, known, revoked, snapshot: &snapshot, now };
        let (name, role, rack) = machine::renew(&facts)?;
        let membership = machine::membership(key, name, role, rack, now, parts.members.epoch());
        let (boot, nonce) = member_before.map_or_else(Default::default, |member| (member.boot, member.nonce));
        parts.members.put(member(&membership, boot, nonce, now)).map_err(|error| busy(&error))?;
        Ok(RenewAnswer { certificate: keys.certify(&membership), time: keys.time(now, &request.nonce) })
    }

    pub(super) async fn answer(
        &self,
        key: PublicKey,
        seen: IpAddr,
        request: ControlRequest,
    ) -> Result<ControlResponse, Refusal> {
        match request {
            ControlRequest::Join(request) => {
                let service = self.clone();
                let answer = blocking(move || service.join(key, seen, &request)).await?;
                Ok(ControlResponse::Joined(Box::new(answer)))
            }
            ControlRequest::Track(request) => self.track(key, seen, request),
            ControlRequest::Report(batch) => self.report(key, seen, batch).await,
            ControlRequest::Renew(request) => {
                let service = self.clone();
                Ok(ControlResponse::Renewed(blocking(move || service.renew(key, &request)).await?))
            }
            ControlRequest::NextBoot => {
                let (member, next_boots, now) = (self.member(&key)?, self.next_boots(), self.0.clock.now());
                let until = blocking(move || next_boots.announce(&member, now)).await?;
                Ok(ControlResponse::Expected { until })
            }
            ControlRequest::Overlays(request) => {
                let service = self.clone();
                Ok(ControlResponse::Overlays(blocking(move || service.overlays(key, &request)).await?))
            }
            ControlRequest::Listen(_) | ControlRequest::AwaitAdoption(_) => {
                Err(refusal(RefusalReason::Version, "who listens asks by the protocol that may wait"))
            }
            ControlRequest::Discover(_) => Err(refusal(RefusalReason::Configuration, "discovery is off on this head")),
        }
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a request of an agent could not be answered");
        Err(refusal(RefusalReason::Busy, "the head failed; its log says how"))
    })
}

fn member(
    membership: &Membership,
    boot: wulfpack_shared::id::BootId,
    nonce: [u8; 16],
    now: wulfpack_shared::time::UnixTime,
) -> Member {
    let Membership { subject, name, role, rack, not_after, .. } = membership.clone();
    Member { key: subject, name, role, rack, boot, nonce, issued: now, not_after }
}

fn hostname(name: &NodeName, domain: &str) -> String {
    if domain.is_empty() || name.as_str().contains('.') { name.to_string() } else { format!("{name}.{domain}") }
}

/// The same for a node at each of its boots, and not to be guessed from its name: a keyed hash in the form of a random UUID
/// (RFC 9562, section 5.4), which is what machine-id(5) asks for.
pub(super) fn machine_id(identity: &SecretKey, node: &NodeName) -> [u8; 16] {
    let key = blake3::derive_key("wulfpack machine id v1", &*identity.seed());
    let mut id = [0; 16];
    id.copy_from_slice(blake3::keyed_hash(&key, node.as_str().as_bytes()).as_bytes().get(..16).unwrap_or(&[0; 16]));
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    id
}
