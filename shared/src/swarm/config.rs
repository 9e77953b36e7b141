//! What an engine is told once, when it is made.

use core::time::Duration;

use super::PeerKind;
use crate::limits::{HEAD_NEIGHBOURS, NEIGHBOURS, NEIGHBOURS_MAX, SLOTS};

/// Settings of an engine. Start from [`Config::node`] or [`Config::head`] and change fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What this member is. A head never fetches and alone answers [`super::Choice::Rarest`].
    pub kind: PeerKind,
    /// Runs served at a time. Each may have one follow-on request queued behind it. On a head: four for each link of a node
    /// that its own link is worth. 0 on a node that serves nobody: its peers are told, and count no copy of it.
    pub slots_up: u8,
    /// Runs fetched at a time, queued follow-on requests not counted.
    pub slots_down: u8,
    /// Neighbours to dial for.
    pub neighbours: u16,
    /// Connections beyond which newcomers are turned away with `Full`.
    pub neighbours_max: u16,
    /// Typical round trip in the cluster; four of them are part of each deadline.
    pub rtt: Duration,
    /// No request misses its deadline sooner than this.
    pub deadline_floor: Duration,
    /// Nor sooner than this while nothing at all arrives: a pause of this machine must not become a storm of cancels.
    pub silence_floor: Duration,
}

impl Config {
    /// A node.
    pub const fn node() -> Self {
        Self {
            kind: PeerKind::Node,
            slots_up: SLOTS,
            slots_down: SLOTS,
            neighbours: NEIGHBOURS,
            neighbours_max: NEIGHBOURS_MAX,
            rtt: Duration::from_millis(1),
            deadline_floor: Duration::from_millis(50),
            silence_floor: Duration::from_millis(1000),
        }
    }

    /// A head whose link is as fast as a node's.
    pub const fn head() -> Self {
        Self { kind: PeerKind::Head, slots_down: 0, neighbours: 0, neighbours_max: HEAD_NEIGHBOURS, ..Self::node() }
    }

    /// Whether this member gives nothing to anybody.
    pub const fn serves_nobody(&self) -> bool {
        self.slots_up == 0
    }

    /// Whether this is a head's.
    pub const fn is_head(&self) -> bool {
        matches!(self.kind, PeerKind::Head)
    }
}
