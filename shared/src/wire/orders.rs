//! Orders: what a head wants of nodes that run. Agents never listen: a node keeps one [`Listen`] open, and the head answers it
//! when it has something for the node, or when it is time to look again.
//!
//! An order is offered until the node has told its outcome, so it may arrive twice; its number tells, and it is done once.

use serde::{Deserialize, Serialize};

use crate::id::Hash;
use crate::overlay::Bundle;

/// What a running node runs now, for `wulf node status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Hash of the system overlays that it booted with.
    pub system: Option<Hash>,
    /// Hash of the runtime overlays that are applied.
    pub runtime: Option<Hash>,
    /// Files of the runtime overlays that were edited on the node and are kept.
    pub edited: u32,
    /// Units that did not take a change of the runtime overlays: their reload failed.
    pub stale_units: u32,
    /// It gives nothing to the swarm, by order.
    pub paused: bool,
    /// Its seed policy wants it to give now.
    pub seeds: bool,
}

/// Waits for orders. Sent as [`crate::wire::LISTEN_PROTOCOL`], where an answer may take [`crate::limits::LISTEN_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// What the node runs.
    pub state: NodeState,
    /// Outcomes that the head has not acknowledged by an answer; at most [`crate::limits::ORDERS_MAX`].
    pub done: Vec<OrderDone>,
    /// Numbers of orders that it has and is at; they are not sent again.
    pub taken: Vec<u64>,
    /// Longest wait in seconds; 0 asks for an answer at once. Nodes ask for [`LISTEN_WAIT_S`], give or take a quarter, and the head
    /// scales it to the interval of its configuration.
    pub wait_s: u16,
}

/// What a node waits on average for an answer, in seconds.
pub const LISTEN_WAIT_S: u16 = 300;

/// Answer to [`Listen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// What is to be done, in this order; at most [`crate::limits::ORDERS_MAX`].
    pub orders: Vec<Order>,
    /// Hash of the runtime overlays that the node would get now, if the head looked.
    pub runtime: Option<Hash>,
}

/// Something that a node shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Tells it from all others of the head's life.
    pub number: u64,
    /// What.
    pub what: OrderKind,
    /// The node begins after a random time up to so many milliseconds.
    pub spread_ms: u32,
}

/// What a node can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// Fetch the runtime overlays and apply them.
    Overlay {
        /// Also over files that were edited on the node.
        force: bool,
    },
    /// Give nothing to the swarm until told otherwise.
    Pause,
    /// Give to the swarm again.
    Resume,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDone {
    /// Which.
    pub number: u64,
    /// How.
    pub outcome: OrderOutcome,
}

/// How an order ended, in words of at most [`crate::limits::REPORT_TEXT_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderOutcome {
    /// Well.
    Done(String),
    /// Not well.
    Failed(String),
    /// Not at all: a job runs. The head offers it again later.
    Busy(String),
}

/// Asks for the node's runtime overlays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaysRequest {
    /// Contents that need not travel; at most [`crate::limits::KNOWN_MAX`].
    pub known: Vec<Hash>,
}

/// Answer to [`OverlaysRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaysAnswer {
    /// The runtime overlays, in the order in which they are applied.
    pub bundles: Vec<Bundle>,
}
