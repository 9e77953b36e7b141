//! What the head knows of one boot of one machine; the form in which it is kept and shown.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{BootId, Mac, NodeName, PublicKey, VersionId};
use wulfpack_shared::limits::TOKEN_LIFETIME;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{Phase, SwarmSummary};

/// Most failures that one boot's record keeps; the oldest go first.
pub const FAILURES_MAX: usize = 32;
/// Most log lines that one boot keeps; the oldest go first.
pub const LOG_LINES_MAX: u64 = 2000;
/// Boots of one node that are kept.
pub const BOOTS_KEPT: usize = 3;

/// How the agent's monotonic clock lies to the head's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The head's time of a moment.
    pub head: UnixTime,
    /// The agent's monotonic time of the same moment, in milliseconds.
    pub agent_ms: u64,
    /// The moment was the join itself, not just a report that came in.
    pub exact: bool,
}

impl Anchor {
    /// The head's time of the agent's moment `agent_ms`.
    pub const fn at(&self, agent_ms: u64) -> UnixTime {
        UnixTime(self.head.0.saturating_add(agent_ms).saturating_sub(self.agent_ms))
    }
}

/// An administrator's word on a boot, where a network demands it (REAL-CLUSTERS, rule 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The interface that boots.
    pub mac: Mac,
    /// The address that it last asked from.
    pub addr: IpAddr,
    /// When it first asked.
    pub asked: UnixTime,
    /// When it was approved; it holds for [`TOKEN_LIFETIME`].
    pub given: Option<UnixTime>,
}

impl Approval {
    /// When it was given, if it holds at `now`.
    pub fn holds(&self, now: UnixTime) -> Option<UnixTime> {
        self.given.filter(|given| now < *given + TOKEN_LIFETIME)
    }
}

/// A phase that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub phase: Phase,
    /// Why, as the agent said it.
    pub reason: String,
    /// Seconds until the agent tried again.
    pub retry_s: u32,
    /// When the agent said it, in its own monotonic milliseconds.
    pub agent_ms: u64,
}

/// Where a boot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootState {
    /// On its way.
    Booting,
    /// Its last word was that a phase failed; it tries again.
    Failed,
    /// The default target is reached and the login check has passed.
    Ready,
    /// Ready, with failed units.
    Degraded,
}

/// Bytes that boot services sent for one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootBytes {
    /// Network boot program.
    pub nbp: u64,
    /// Boot script.
    pub script: u64,
    /// Kernel and initramfs archives.
    pub kernel: u64,
}

/// What an agent had used of its node when the image was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentUse {
    /// Processor time in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that was resident at a time, in bytes; the image is no part of it.
    pub memory_peak: u64,
}

/// One boot of one machine, as far as the head knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootRecord {
    /// The node.
    pub node: NodeName,
    /// When the head first heard of this boot; with the node it names the record.
    pub started: UnixTime,
    /// When it last heard of it.
    pub heard: UnixTime,
    /// The interface that booted.
    pub mac: Option<Mac>,
    /// The agent's name for this boot, once it has joined.
    pub boot: Option<BootId>,
    /// The member's key.
    pub key: Option<PublicKey>,
    /// Its address.
    pub addr: Option<IpAddr>,
    /// The image version it was told to fetch.
    pub image: Option<VersionId>,
    /// Version of the agent program.
    pub agent: Option<String>,
    /// MemTotal in bytes.
    pub memory: Option<u64>,
    /// MemAvailable at ready in bytes.
    pub mem_available: Option<u64>,
    /// What the agent had used when the image was complete.
    #[serde(default)]
    pub used: Option<AgentUse>,
    /// The agent's clock less the head's at join, before it was stepped, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Phases that the head stamped: the end of each.
    pub stamped: BTreeMap<Phase, UnixTime>,
    /// Phases that the agent stamped: the end of each, in its monotonic milliseconds.
    pub reached: BTreeMap<Phase, u64>,
    /// When the head last admitted it, until the agent's own word of that moment has come.
    pub joined: Option<UnixTime>,
    /// How the agent's times become the head's.
    pub anchor: Option<Anchor>,
    /// When the login check first passed.
    pub login: Option<UnixTime>,
    /// Why the login check has given up, if it has.
    pub login_failed: Option<String>,
    /// The last failures, oldest first.
    pub failures: Vec<Failure>,
    /// Whether the agent's last word was a failure.
    pub failing: bool,
    /// `systemctl is-system-running` at ready.
    pub system: Option<String>,
    /// Failed units at ready.
    pub failed_units: Vec<String>,
    /// The member's last swarm counters.
    pub swarm: Option<SwarmSummary>,
    /// What boot services sent.
    pub bytes: BootBytes,
    /// How often the agent process was restarted.
    pub restarts: u32,
    /// Highest sequence number of the agent's events that arrived.
    pub through: u64,
    /// Sequence numbers below it that have not arrived.
    pub missing: std::collections::BTreeSet<u64>,
    /// Log lines that this boot has had; the last [`LOG_LINES_MAX`] are kept.
    pub logged: u64,
    /// The administrator's word, where the boot needs one.
    pub approval: Option<Approval>,
}

impl BootRecord {
    /// An empty record of a boot that the head hears of at `started`.
    pub fn new(node: NodeName, started: UnixTime) -> Self {
        Self {
            node,
            started,
            heard: started,
            mac: None,
            boot: None,
            key: None,
            addr: None,
            image: None,
            agent: None,
            memory: None,
            mem_available: None,
            used: None,
            clock_offset_ms: None,
            stamped: BTreeMap::new(),
            reached: BTreeMap::new(),
            joined: None,
            anchor: None,
            login: None,
            login_failed: None,
            failures: vec![],
            failing: false,
            system: None,
            failed_units: vec![],
            swarm: None,
            bytes: BootBytes::default(),
            restarts: 0,
            through: 0,
            missing: std::collections::BTreeSet::new(),
            logged: 0,
            approval: None,
        }
    }

    /// What an administrator has to approve before the boot can go on. A machine that asks no more is still named.
    pub fn waits(&self) -> Option<&Approval> {
        self.approval.as_ref().filter(|approval| self.boot.is_none() && approval.given.is_none())
    }

    /// When the boot from `mac` was approved, if that holds at `now`. The join spends it.
    pub fn approved(&self, mac: Mac, now: UnixTime) -> Option<UnixTime> {
        self.approval.filter(|approval| self.boot.is_none() && approval.mac == mac)?.holds(now)
    }

    /// When `phase` ended by the head's clock; `None` if nobody saw it. [`Phase::Ready`] needs the agent's word and the login check.
    pub fn at(&self, phase: Phase) -> Option<UnixTime> {
        let agent = || Some(self.anchor?.at(*self.reached.get(&phase)?));
        match phase {
            Phase::Ready => Some(agent()?.max(self.login?)),
            _ => self.stamped.get(&phase).copied().or_else(agent),
        }
    }

    /// How long `phase` took in milliseconds: from the end of the phase before it. `None` where either end is unknown.
    /// The first phase counts from the head's first word with the machine.
    pub fn took_ms(&self, phase: Phase) -> Option<u64> {
        let before = Phase::ALL.iter().rev().find(|other| **other < phase);
        let start = before.map_or(Some(self.started), |before| self.at(*before))?;
        Some(self.at(phase)?.0.saturating_sub(start.0))
    }

    /// Where the boot stands.
    pub fn state(&self) -> BootState {
        if self.at(Phase::Ready).is_some() {
            let running = self.failed_units.is_empty() && self.system.as_deref() != Some("degraded");
            if running { BootState::Ready } else { BootState::Degraded }
        } else if self.failing {
            BootState::Failed
        } else {
            BootState::Booting
        }
    }

    /// The last phase that ended.
    pub fn last_phase(&self) -> Option<Phase> {
        Phase::ALL.into_iter().rev().find(|phase| self.at(*phase).is_some() || self.reached.contains_key(phase))
    }

    /// The phase the boot is in: the one after the last that ended.
    pub fn phase(&self) -> Phase {
        let last = self.last_phase();
        Phase::ALL.into_iter().find(|phase| Some(*phase) > last).unwrap_or(Phase::Ready)
    }
}

/// A line of a node's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The head's time of it; where the agent's clock is not yet anchored, when it came in.
    pub at: UnixTime,
    /// The line.
    pub text: String,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Somebody should look when there is time.
    Warning,
    /// Somebody should look now.
    Alarm,
}

/// Something that happened in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When.
    pub at: UnixTime,
    /// How much it matters.
    pub severity: Severity,
    /// To which node, if to one.
    pub node: Option<NodeName>,
    /// What, for a person.
    pub text: String,
}
