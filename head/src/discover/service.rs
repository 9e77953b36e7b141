//! What machines ask, and what administrators decide.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use wulfpack_shared::id::{Hash, Mac, NodeName, PublicKey};
use wulfpack_shared::identity::{TokenKey, TokenSubject};
use wulfpack_shared::limits::LISTEN_MAX;
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::wire::{Adoption, AwaitAdoption, DiscoverRequest, Discovered, Refusal, RefusalReason};

use super::pending::{Pending, PendingError, Told};
use super::registry::ClaimedRegistry;
use super::rules::{Lists, Rules, Suggestion};
use crate::boot::HeadSettings;
use crate::fleet::{FleetHandle, Input, Severity};
use crate::http::Versions;
use crate::join::TokenMaker;
use crate::registry::Snapshot;
use crate::store::{AuditRecord, Claim, Claimed, PendingMachine, Redeemed, Store, StoreError};

/// Most events about refusals in a minute.
const TOLD_MAX: u32 = 30;
/// Most nodes that are tried for one machine when others are faster.
const TRIES_MAX: usize = 4096;

/// All that the service needs.
#[derive(Debug)]
pub struct DiscoveryOptions {
    /// Whether it is on in any network.
    pub on: bool,
    /// Which machines become which nodes by themselves.
    pub rules: Rules,
    /// Reads tokens.
    pub key: TokenKey,
    /// Makes them.
    pub tokens: TokenMaker,
    /// The list, and who has become which node.
    pub store: Arc<dyn Store>,
    /// The registry with these.
    pub registry: Arc<ClaimedRegistry>,
    /// The same, as other services are told of its changes.
    pub nodes: watch::Receiver<Arc<Snapshot>>,
    /// What every node is told.
    pub head: watch::Receiver<Arc<HeadSettings>>,
    /// Image versions.
    pub versions: Arc<dyn Versions>,
    /// Who is told of what happens.
    pub fleet: FleetHandle,
    /// The head's time.
    pub clock: ClusterClock,
}

/// See the folder's head. Clones share everything.
#[derive(Clone, Debug)]
pub struct Discovery(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    on: bool,
    pub(super) rules: Rules,
    key: TokenKey,
    pub(super) tokens: TokenMaker,
    pub(super) store: Arc<dyn Store>,
    pub(super) registry: Arc<ClaimedRegistry>,
    pub(super) nodes: watch::Receiver<Arc<Snapshot>>,
    pub(super) head: watch::Receiver<Arc<HeadSettings>>,
    pub(super) versions: Arc<dyn Versions>,
    pub(super) fleet: FleetHandle,
    pub(super) clock: ClusterClock,
    pending: Mutex<Pending>,
    /// Rises with every change of the list.
    pub(super) version: watch::Sender<u64>,
    told: Mutex<(Option<Instant>, u32)>,
}

/// What a token says of the machine that shows it.
struct Proof {
    /// It is a node.
    known: bool,
    /// Its network demands no administrator's word.
    trusted: bool,
    /// What it runs.
    runs: Hash,
}

/// Why a machine does not become a node.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It or the node has another already.
    #[error("{} is {} already (by {})", .0.mac, .0.node, .0.how)]
    Taken(Claim),
    /// The store cannot do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) fn busy(error: &StoreError) -> Refusal {
    tracing::error!(%error, "a machine in discovery could not be answered");
    Refusal { reason: RefusalReason::Busy, text: "the head cannot read or write its state; its log says why".into() }
}

pub(super) fn refusal(reason: RefusalReason, text: impl Into<String>) -> Refusal {
    Refusal { reason, text: text.into() }
}

impl Discovery {
    /// A service with the list that the store has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(options: DiscoveryOptions) -> Result<Self, StoreError> {
        let DiscoveryOptions { on, rules, key, tokens, store, registry, nodes, head, versions, fleet, clock } = options;
        let pending = Mutex::new(Pending::new(store.pending()?));
        let (version, told) = (watch::Sender::new(1), Mutex::default());
        let inner = Inner {
            on,
            rules,
            key,
            tokens,
            store,
            registry,
            nodes,
            head,
            versions,
            fleet,
            clock,
            pending,
            version,
            told,
        };
        Ok(Self(Arc::new(inner)))
    }

    pub(super) fn list(&self) -> MutexGuard<'_, Pending> {
        // Every change leaves the list whole.
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changed(&self) {
        self.0.version.send_modify(|version| *version += 1);
    }

    /// Something that an administrator should see, unless there is too much of it.
    fn warn(&self, text: String) {
        tracing::warn!("{text}");
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.is_none_or(|since| since.elapsed() > Duration::from_secs(60)) {
            *told = (Some(Instant::now()), 0);
        }
        told.1 += 1;
        if told.1 <= TOLD_MAX {
            self.0.fleet.tell(Input::Event { severity: Severity::Warning, node: None, text });
        }
    }

    /// What a machine's token says: it has to be for this interface, and no other key may have shown it. A node that is told to show
    /// what it is has its join token.
    fn proof(&self, key: PublicKey, from: IpAddr, request: &DiscoverRequest) -> Result<Proof, Refusal> {
        let body = self.0.key.open(&request.token, self.0.clock.now()).map_err(|error| {
            self.warn(format!("{from} told of a machine {} without a token that counts: {error}", request.mac));
            refusal(RefusalReason::Token, format!("{error}; boot the machine again"))
        })?;
        let (mac, proof) = match body.subject {
            TokenSubject::Discover { .. } if !self.0.on => {
                return Err(refusal(RefusalReason::Configuration, "discovery is off on this head"));
            }
            TokenSubject::Discover { mac, trusted, runs } => (mac, Proof { known: false, trusted, runs }),
            TokenSubject::Node { mac: Some(mac), .. } => {
                (mac, Proof { known: true, trusted: true, runs: Hash::default() })
            }
            TokenSubject::Node { mac: None, .. } | TokenSubject::Anonymous { .. } => {
                self.warn(format!("{from} told of a machine {} with a token for something else", request.mac));
                return Err(refusal(RefusalReason::Token, "this token is not for discovery"));
            }
        };
        if mac != request.mac {
            self.warn(format!("{from} booted from {mac} and says that it is {}", request.mac));
            return Err(refusal(RefusalReason::Token, format!("this token is for the machine {mac}")));
        }
        let redeemed = self.0.store.redeem(body.nonce, 1, body.expires, key).map_err(|error| busy(&error))?;
        if let Redeemed::Taken { .. } = redeemed {
            let contested = self.list().contest(mac);
            contested.map_or(Ok(()), |machine| self.0.store.put_pending(&machine)).map_err(|error| busy(&error))?;
            self.warn(format!(
                "two keys showed the discovery token of {mac}, the second from {from}: somebody on its boot network may have \
                 read it. It becomes no node by itself; look at the segment, and boot it again"
            ));
            let text = format!("another machine showed the token of {mac} first; the administrator was told");
            return Err(refusal(RefusalReason::Token, text));
        }
        Ok(proof)
    }

    /// Takes what a machine tells; blocks for as long as a flush of the disk takes.
    pub fn tell(&self, key: PublicKey, from: IpAddr, request: DiscoverRequest) -> Result<Discovered, Refusal> {
        if let Some(excess) = request.inventory.excess() {
            self.warn(format!("{from} told of a machine {} with too many or too long {excess}", request.mac));
            let text = format!("too many or too long {excess}");
            return Err(refusal(RefusalReason::Configuration, text));
        }
        let Proof { known, trusted, runs } = self.proof(key, from, &request)?;
        let DiscoverRequest { mac, boot, agent, inventory, complete, .. } = request;
        let told = Told { mac, key, boot, from, trusted, runs, agent, inventory, complete };
        let fresh = self.list().get(mac).is_none();
        let listed = self.list().tell(self.0.clock.now(), told);
        let (machine, gone) = match listed {
            Ok(listed) => listed,
            // A full list keeps no node from its boot.
            Err(error) if known => return Ok(Discovered { text: error.to_string() }),
            Err(error) => return Err(refused(error)),
        };
        self.0.store.put_pending(&machine).map_err(|error| busy(&error))?;
        if let Some(gone) = gone {
            self.0.store.drop_pending(&[gone]).map_err(|error| busy(&error))?;
        }
        if fresh && !known {
            let system = &machine.inventory.system;
            let text = format!(
                "the machine {mac} ({} {}, serial number {}) waits to be adopted",
                system.vendor, system.product, system.serial
            );
            self.0.fleet.tell(Input::Event { severity: Severity::Info, node: None, text });
        }
        self.changed();
        Ok(Discovered { text: self.adopt_by_rule(&machine, &self.read_lists()).map_err(|error| busy(&error))? })
    }

    /// Lets the rules decide about a machine; what is said at its console.
    pub(super) fn adopt_by_rule(&self, machine: &PendingMachine, lists: &Lists) -> Result<String, StoreError> {
        let mac = machine.mac;
        let known = |snapshot: &Snapshot| snapshot.by_mac(mac).map(|node| node.name.clone());
        let asks = format!("\"wulf node adopt {mac} NAME\" on the head makes this machine a node");
        for _ in 0..TRIES_MAX {
            let snapshot = self.0.registry.both();
            if let Some(node) = known(&snapshot) {
                return Ok(format!("this machine is node {node}"));
            }
            let note = match self.0.rules.suggest(machine, &snapshot, lists) {
                Suggestion::Node { node, how } if machine.trusted && !machine.contested => {
                    match self.claim(&[(mac, node.clone())], &how) {
                        Ok(()) => return Ok(format!("{how}: this machine is node {node}")),
                        // Another was faster, perhaps through another head: what is free is looked up again.
                        Err(AdoptError::Taken(_)) => self.0.registry.follow(&*self.0.store)?,
                        Err(AdoptError::Store(error)) => return Err(error),
                    }
                    continue;
                }
                Suggestion::Node { node, how } if machine.contested => {
                    format!("{how} says {node}, but two keys showed its token")
                }
                Suggestion::Node { node, how } => {
                    format!("{how} says {node}, but this network demands an administrator's word")
                }
                Suggestion::NotYet => "its switch has not spoken yet".into(),
                Suggestion::None(why) => why,
            };
            let news = self.list().note(mac, &note);
            if let Some(machine) = news {
                self.0.store.put_pending(&machine)?;
                self.changed();
            }
            return Ok(if note.is_empty() { asks } else { format!("{note}; {asks}") });
        }
        Ok(asks)
    }

    /// Makes machines nodes, all of them or none. Of two that want the same at the same moment the store takes one.
    ///
    /// # Errors
    /// One of them is taken, or the store cannot do it.
    pub fn claim(&self, pairs: &[(Mac, NodeName)], how: &str) -> Result<(), AdoptError> {
        let at = self.0.clock.now();
        let claim = |(mac, node): &(Mac, NodeName)| Claim { node: node.clone(), mac: *mac, at, how: how.to_owned() };
        match self.0.store.claim(&pairs.iter().map(claim).collect::<Vec<_>>())? {
            Claimed::Again => return Ok(()),
            Claimed::Taken(other) => return Err(AdoptError::Taken(other)),
            Claimed::New => {}
        }
        for (mac, node) in pairs {
            let (who, what, detail) = (how.to_owned(), "adopt".to_owned(), format!("{mac} is {node}"));
            self.0.store.audit(&AuditRecord { at, who, what, detail })?;
            let text = format!("the machine {mac} becomes {node} ({how})");
            self.0.fleet.tell(Input::Event { severity: Severity::Info, node: Some(node.clone()), text });
        }
        self.0.registry.follow(&*self.0.store)?;
        self.changed();
        Ok(())
    }

    /// Takes claims back; those that there were.
    ///
    /// # Errors
    /// The store cannot do it.
    pub fn release(&self, nodes: &[NodeName]) -> Result<Vec<Claim>, StoreError> {
        if nodes.is_empty() {
            return Ok(vec![]);
        }
        let dropped = self.0.store.drop_claims(nodes)?;
        self.0.registry.follow(&*self.0.store)?;
        self.changed();
        Ok(dropped)
    }

    /// Takes machines off the list; how many were on it. One that still waits tells again what it is.
    ///
    /// # Errors
    /// The store cannot do it.
    pub fn forget(&self, macs: &[Mac]) -> Result<usize, StoreError> {
        let mut list = self.list();
        let gone = macs.iter().filter(|mac| list.remove(**mac)).count();
        drop(list);
        self.0.store.drop_pending(macs)?;
        self.changed();
        Ok(gone)
    }

    /// Whether it is on in any network.
    pub fn is_on(&self) -> bool {
        self.0.on
    }

    /// All machines that told what they are.
    pub fn machines(&self) -> Vec<PendingMachine> {
        self.list().machines().cloned().collect()
    }

    /// Who has become which node and is not in the registry's file yet.
    pub fn claims(&self) -> Vec<Claim> {
        self.0.registry.claims().values().cloned().collect()
    }

    /// Tells of every change of the list and of the claims: a number that rises.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// The lists that rules refer to, as they are now.
    pub(super) fn read_lists(&self) -> Lists {
        let read = |path: &std::path::PathBuf| {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
            let list = text.and_then(|text| super::rules::parse_list(&text));
            list.map_err(|why| format!("{}: {why}", path.display()))
        };
        self.0.rules.files().into_iter().map(|path| (path.clone(), read(&path))).collect()
    }

    /// Holds a machine's question until it has become a node, or its time is over.
    pub async fn wait(&self, key: PublicKey, from: IpAddr, request: AwaitAdoption) -> Result<Adoption, Refusal> {
        let end = Instant::now() + Duration::from_secs(request.wait_s.into()).min(LISTEN_MAX);
        let mut nodes = self.0.nodes.clone();
        loop {
            let heard = self.list().heard(self.0.clock.now(), request.mac, key);
            let store_it = match heard {
                Ok(machine) => machine,
                Err(PendingError::Unknown) => return Ok(Adoption::Forgotten),
                Err(error) => {
                    self.warn(format!("{from} asked what has become of {}: {error}", request.mac));
                    return Err(refused(error));
                }
            };
            if let Some(machine) = store_it {
                self.0.store.put_pending(&machine).map_err(|error| busy(&error))?;
            }
            let node = nodes.borrow_and_update().by_mac(request.mac).cloned();
            let machine = self.list().get(request.mac).cloned();
            let mut text = String::new();
            if let (Some(node), Some(machine)) = (node, machine) {
                let service = self.clone();
                let answered = tokio::task::spawn_blocking(move || service.become_node(&machine, &node)).await;
                match answered.map_err(|error| refusal(RefusalReason::Busy, error.to_string()))?? {
                    Ok(adoption) => return Ok(adoption),
                    Err(why) => text = why,
                }
            }
            // What keeps it, such as an image that is not built yet, may change without a word.
            let look = if text.is_empty() { end } else { end.min(Instant::now() + Duration::from_secs(5)) };
            let changed = timeout_at(look, nodes.changed()).await;
            if Instant::now() >= end || matches!(changed, Ok(Err(_))) {
                return Ok(Adoption::Waiting { text });
            }
        }
    }
}

fn refused(error: PendingError) -> Refusal {
    let reason = match error {
        PendingError::Busy | PendingError::Full | PendingError::Unknown => RefusalReason::Busy,
        PendingError::OtherKey => RefusalReason::Token,
    };
    refusal(reason, error.to_string())
}
