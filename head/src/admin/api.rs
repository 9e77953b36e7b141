//! What the command line and the running head say to each other. JSON; the field names are stable.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{Hash, ImageName, Mac, NodeName, OverlayName, PublicKey, VersionId};
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::overlay::Context;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{NodeState, OrderKind};
use zeroize::{Zeroize as _, Zeroizing};

use crate::config::{ClusterKeys, FormerKey};
use crate::dhcp::Counters;
use crate::fleet::{EventRecord, ImageEgress, NodeStatus};
use crate::orders::Pace;

/// The head itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadStatus {
    /// Version of the program.
    pub version: String,
    /// Name of the cluster.
    pub cluster: String,
    /// When it started.
    pub started: UnixTime,
    /// Its key.
    pub key: PublicKey,
    /// The cluster's key.
    pub cluster_key: PublicKey,
    /// Where each service listens, or why it does not.
    pub services: BTreeMap<String, String>,
    /// Why the registry as it stands in the file is not used.
    pub registry_error: Option<String>,
    /// Members of the swarm that the tracker knows.
    pub members: usize,
    /// What was sent of each image since the start.
    pub images: Vec<ImageEgress>,
}

/// A machine that asked and is no node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownMachine {
    /// Its MAC address.
    pub mac: Mac,
    /// When it last asked.
    pub last: UnixTime,
    /// How often.
    pub count: u64,
}

/// Answer to `GET /v1/status?since=VERSION`: at once if something changed since, else after at most 20 s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Hand it in as `since` to be told of the next change.
    pub version: u64,
    /// The head's time.
    pub now: UnixTime,
    /// The head.
    pub head: HeadStatus,
    /// All nodes of the registry, by name.
    pub nodes: Vec<NodeStatus>,
    /// Machines that are no nodes.
    pub unknown: Vec<UnknownMachine>,
}

/// `POST /v1/report`; `GET /v1/report` asks for the last boot of all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRequest {
    /// These nodes; all without.
    pub nodes: Option<Vec<NodeName>>,
    /// The last so many boots of each.
    pub boots: usize,
}

/// `POST /v1/ticket`: whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TicketFor {
    /// This node.
    Node(NodeName),
    /// So many hosts, for this image.
    Anonymous {
        /// The image.
        image: ImageName,
        /// How many hosts.
        count: u32,
    },
}

/// `POST /v1/ticket`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRequest {
    /// Whom it is for.
    pub subject: TicketFor,
    /// How long it is good for, in seconds.
    pub life_s: u64,
}

/// Its answer; as secret as the ticket in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct TicketAnswer {
    /// The ticket.
    pub ticket: String,
    /// Last moment at which it may be shown.
    pub expires: UnixTime,
}

impl std::fmt::Debug for TicketAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketAnswer").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// `POST /v1/approve`: boots that may go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveRequest {
    /// Nodes whose boot waits.
    pub nodes: Vec<NodeName>,
}

/// A boot that was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedBoot {
    /// The node.
    pub node: NodeName,
    /// The interface that boots.
    pub mac: Mac,
    /// The address that it asked from.
    pub addr: IpAddr,
    /// Until when the machine may fetch its join token.
    pub until: UnixTime,
}

/// Answer to `POST /v1/approve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveAnswer {
    /// Boots that may go on.
    pub approved: Vec<ApprovedBoot>,
    /// Nodes of which no boot waits for approval.
    pub not_waiting: Vec<NodeName>,
}

/// One of the answer to `GET /v1/overlays/NODE`: a file that the node would get now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedFile {
    /// The overlay.
    pub overlay: OverlayName,
    /// When it is applied.
    pub context: Context,
    /// Relative to the root.
    pub path: String,
    /// `file`, `link`, `directory` or `absent`.
    pub kind: String,
    /// Permissions, in octal.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Its content is nobody's business.
    pub secret: bool,
    /// Content, or target of a link.
    pub text: String,
}

/// One of the answer to `POST /v1/overlays`, which asks with a [`ReportRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOverlays {
    /// The node.
    pub node: NodeName,
    /// Hash of the system overlays that it would get now.
    pub system: Option<Hash>,
    /// Hash of the runtime overlays that it would get now.
    pub runtime: Option<Hash>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Why they cannot be rendered.
    pub error: Option<String>,
    /// The image version that it would boot now.
    pub image_now: Option<VersionId>,
    /// What it says that it runs, if it has listened since the head started.
    pub running: Option<NodeState>,
}

/// `POST /v1/orders`: what running nodes shall do. `GET /v1/orders/ID?since=VERSION` tells how it goes, as a
/// [`Progress`](crate::orders::Progress).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersRequest {
    /// Which nodes.
    pub nodes: Vec<NodeName>,
    /// What.
    pub what: OrderKind,
    /// How fast.
    pub pace: Pace,
}

/// Answer to `POST /v1/orders`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersAnswer {
    /// The number of these orders.
    pub id: u64,
}

/// One of the answer to `GET /v1/events?count=N`, the last N, and to `GET /v1/events?from=NUMBER`: the first ones from that number
/// on, at once if there is one, else after at most 20 s. The oldest comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one with each event.
    pub number: u64,
    /// The event.
    #[serde(flatten)]
    pub record: EventRecord,
}

/// Whether a service answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// It does.
    pub answers: bool,
    /// Where it listens, or why it does not answer.
    pub detail: String,
}

/// `GET /v1/dhcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpStatus {
    /// All services of the head, DHCP among them: what withholds DHCP withholds no other.
    pub services: BTreeMap<String, ServiceStatus>,
    /// Another DHCP server on our networks; DHCP is withheld because of it unless that is overridden.
    pub other_server: Option<Ipv4Addr>,
    /// Whether DHCP answers even where another server does.
    pub overridden: bool,
    /// Requests that DHCP did not answer since the head started.
    pub unanswered: Counters,
}

/// `POST /v1/dhcp/override`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOverride {
    /// Answer even where another server does.
    pub on: bool,
}

/// `POST /v1/key/record`: what somebody is about to do with the secret keys on disk. The head cannot read them; it records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyDeed {
    /// Copy all of them.
    Backup {
        /// Where to.
        file: String,
    },
    /// Change those of the cluster.
    Rotate {
        /// The keys that count then, the newest first.
        trusted: Vec<PublicKey>,
    },
}

/// `GET /v1/key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The cluster's key.
    pub cluster: PublicKey,
    /// All keys of the cluster that count now, the newest first.
    pub trusted: Vec<PublicKey>,
    /// This head's key.
    pub head: PublicKey,
    /// Where its control plane listens.
    pub control: Vec<SocketAddr>,
}

/// `POST /v1/key`: the cluster's keys have changed on disk, where the running head cannot read them any more. As secret as the key.
#[derive(Serialize, Deserialize)]
pub struct KeysChange {
    /// Seed of the key that signs now, in hexadecimal.
    newest: String,
    former: Vec<FormerKey>,
}

impl KeysChange {
    /// What is sent to the running head.
    pub fn of(keys: &ClusterKeys) -> Self {
        Self { newest: HEXLOWER.encode(&*keys.newest().seed()), former: keys.former().to_vec() }
    }

    /// The keys; `None` where they do not belong together.
    pub fn keys(self) -> Option<ClusterKeys> {
        let mut text = self.newest;
        let seed = HEXLOWER.decode(text.as_bytes()).map(Zeroizing::new);
        text.zeroize();
        let seed: [u8; 32] = seed.ok()?.as_slice().try_into().ok()?;
        ClusterKeys::new(SecretKey::from_seed(seed), self.former)
    }
}

impl std::fmt::Debug for KeysChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeysChange").field("former", &self.former).finish_non_exhaustive()
    }
}

/// The body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For a person.
    pub error: String,
}
