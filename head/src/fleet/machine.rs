//! Turns what boot services saw and what agents report into one record for each boot. Pure. Reports may come late, twice and
//! out of order; what is stored is the same.

mod approval;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wulfpack_shared::id::{BootId, Mac, NodeName};
use wulfpack_shared::limits::{REPORT_EVENTS_MAX, REPORT_TEXT_MAX};
use wulfpack_shared::time::{Now, UnixTime};
use wulfpack_shared::wire::{Phase, ReportBatch, ReportEvent, ReportKind, SwarmSummary};

use super::input::{Input, Joined, Output};
use super::record::{AgentUse, Anchor, BOOTS_KEPT, BootRecord, EventRecord, FAILURES_MAX, Failure, LogLine, Severity};
use super::{BootEvent, BootState};
use crate::store::Batch;

/// A boot that was silent for so long is over; what comes next begins another.
const STALE: Duration = Duration::from_secs(600);
/// How far before its boot script a boot's first DHCP exchange may lie.
const DHCP_BEFORE: Duration = Duration::from_secs(180);
/// Most numbers of missing events that are remembered for one boot.
const MISSING_MAX: usize = 4096;
/// Most machines that no node claims that are remembered.
const UNKNOWN_MAX: usize = 256;

/// A machine that asked for something and is no node of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// When it last asked.
    pub last: UnixTime,
    /// How often.
    pub count: u64,
}

/// The fleet.
#[derive(Debug, Default)]
pub struct Fleet {
    /// The last boots of each node, oldest first.
    boots: BTreeMap<NodeName, VecDeque<BootRecord>>,
    /// DHCP exchanges of nodes that are up: a renewal, or the beginning of their next boot.
    exchanges: BTreeMap<NodeName, UnixTime>,
    unknown: BTreeMap<Mac, Unknown>,
    dirty: BTreeSet<(NodeName, UnixTime)>,
    /// Boots whose login check runs.
    probing: BTreeSet<(NodeName, UnixTime)>,
    batch: Batch,
    output: VecDeque<Output>,
    /// Rises with every change.
    version: u64,
}

impl Fleet {
    /// A fleet that knows these boots from before, as [`crate::store::Store::boots`] gives them.
    pub fn new(boots: impl IntoIterator<Item = BootRecord>) -> Self {
        let mut fleet = Self::default();
        for boot in boots {
            fleet.boots.entry(boot.node.clone()).or_default().push_back(boot);
        }
        // Login checks that the last head did not finish.
        let waiting: Vec<_> = fleet.latest().map(|boot| (boot.node.clone(), boot.started)).collect();
        for (node, started) in waiting {
            fleet.ask_probe(&node, started);
        }
        fleet
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        let now = now.wall.unwrap_or(UnixTime(now.mono.as_millis()));
        self.version += 1;
        match input {
            Input::Boot(event) => self.boot(now, event),
            Input::Joined(joined) => self.joined(now, joined),
            Input::Report { node, addr, batch } => {
                let boot = self.reporting(now, &node, batch.boot);
                let Some(record) = self.record_mut(&node, boot) else { return };
                record.heard = now;
                record.addr = Some(addr);
                self.report(now, &node, boot, batch);
            }
            Input::Waits { node, mac, addr } => self.waits(now, &node, mac, addr),
            Input::Announced { node, mac, addr } => self.announced(now, &node, mac, addr),
            Input::Approve { node, mac, who } => self.approve(now, &node, mac, &who),
            Input::Login { node, started, result } => self.login(now, &node, started, result),
            Input::Event { severity, node, text } => self.event(now, severity, node, text),
            Input::Forget(node) => {
                self.boots.remove(&node);
                self.exchanges.remove(&node);
                self.dirty.retain(|(other, _)| *other != node);
            }
        }
    }

    /// What is to be done; drain it after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// What has to be written to the store since the last call.
    pub fn take_batch(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        for (node, started) in std::mem::take(&mut self.dirty) {
            batch.boots.extend(self.record(&node, started).cloned());
        }
        batch
    }

    /// Rises with every input.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The last boot of each node, by node.
    pub fn latest(&self) -> impl Iterator<Item = &BootRecord> {
        self.boots.values().filter_map(VecDeque::back)
    }

    /// The boots of one node that are kept, oldest first.
    pub fn of(&self, node: &NodeName) -> impl DoubleEndedIterator<Item = &BootRecord> {
        self.boots.get(node).into_iter().flatten()
    }

    /// Machines that are no node, by MAC address.
    pub const fn unknown(&self) -> &BTreeMap<Mac, Unknown> {
        &self.unknown
    }

    fn record(&self, node: &NodeName, started: UnixTime) -> Option<&BootRecord> {
        self.boots.get(node)?.iter().find(|boot| boot.started == started)
    }

    /// The record, which will be written.
    fn record_mut(&mut self, node: &NodeName, started: UnixTime) -> Option<&mut BootRecord> {
        self.dirty.insert((node.clone(), started));
        self.boots.get_mut(node)?.iter_mut().find(|boot| boot.started == started)
    }

    fn last(&self, node: &NodeName) -> Option<&BootRecord> {
        self.boots.get(node)?.back()
    }

    /// Begins a boot; its start is made unique among the node's boots.
    fn begin(&mut self, node: &NodeName, mut started: UnixTime) -> UnixTime {
        let boots = self.boots.entry(node.clone()).or_default();
        if let Some(last) = boots.back() {
            started = started.max(UnixTime(last.started.0.saturating_add(1)));
        }
        boots.push_back(BootRecord::new(node.clone(), started));
        if boots.len() > BOOTS_KEPT {
            boots.pop_front();
        }
        started
    }

    fn event(&mut self, at: UnixTime, severity: Severity, node: Option<NodeName>, text: String) {
        self.batch.events.push(EventRecord { at, severity, node, text });
    }

    fn boot(&mut self, now: UnixTime, event: BootEvent) {
        let Some(node) = event.node else {
            self.stranger(now, event.mac);
            return;
        };
        let Some(started) = self.under_way(now, &node, event.phase) else { return };
        let Some(record) = self.record_mut(&node, started) else { return };
        (record.heard, record.mac) = (now, Some(event.mac));
        record.addr = event.ip.or(record.addr);
        let late = event.phase == Phase::Dhcp && record.stamped.keys().any(|phase| *phase > Phase::Dhcp);
        if !late {
            // iPXE and the agent ask again after the firmware has; the phase ended with the first of them.
            record.stamped.insert(event.phase, now);
        }
        match event.phase {
            Phase::Nbp => record.bytes.nbp += event.bytes,
            Phase::Script => record.bytes.script += event.bytes,
            Phase::Kernel => record.bytes.kernel += event.bytes,
            _ => {}
        }
    }

    /// Start of the boot that a machine is in which asks for something of this phase; it may begin with that. `None` where the
    /// node is up, and may just have its address renewed.
    fn under_way(&mut self, now: UnixTime, node: &NodeName, phase: Phase) -> Option<UnixTime> {
        let last = self.last(node);
        let stale = last.is_none_or(|boot| now.distance(boot.heard) > STALE);
        let joined = last.is_some_and(|boot| boot.boot.is_some());
        let loaded = joined || last.is_some_and(|boot| boot.stamped.contains_key(&Phase::Kernel));
        let began = match phase {
            Phase::Dhcp if loaded => {
                let first = self.exchanges.entry(node.clone()).or_insert(now);
                if now.distance(*first) > DHCP_BEFORE {
                    *first = now;
                }
                return None;
            }
            Phase::Nbp | Phase::Script => stale || loaded,
            Phase::Kernel => stale || joined,
            _ => stale,
        };
        if let Some(last) = last.filter(|_| !began) {
            return Some(last.started);
        }
        // A kernel that could not be loaded is loaded again: for that nobody has to approve twice.
        let approval = last.filter(|last| last.boot.is_none()).and_then(|last| last.approval);
        let exchange = self.exchanges.remove(node).filter(|at| now.distance(*at) <= DHCP_BEFORE);
        let started = self.begin(node, exchange.unwrap_or(now));
        if let Some(record) = self.record_mut(node, started) {
            record.approval = approval.filter(|approval| approval.holds(now).is_some());
            record.stamped.extend(exchange.map(|at| (Phase::Dhcp, at)));
        }
        Some(started)
    }

    fn stranger(&mut self, now: UnixTime, mac: Mac) {
        if self.unknown.len() >= UNKNOWN_MAX && !self.unknown.contains_key(&mac) {
            let oldest = self.unknown.iter().min_by_key(|(_, unknown)| unknown.last).map(|(mac, _)| *mac);
            oldest.map(|mac| self.unknown.remove(&mac));
        }
        let unknown = self.unknown.entry(mac).or_insert(Unknown { last: now, count: 0 });
        (unknown.last, unknown.count) = (now, unknown.count + 1);
    }

    fn joined(&mut self, now: UnixTime, joined: Joined) {
        let node = joined.node.clone();
        let last = self.last(&node);
        let started = match last {
            Some(last) if last.boot == Some(joined.boot) => last.started,
            Some(last) if last.boot.is_none() && now.distance(last.heard) <= STALE => last.started,
            _ => self.begin(&node, now),
        };
        let Some(record) = self.record_mut(&node, started) else { return };
        (record.heard, record.joined, record.boot, record.key) = (now, Some(now), Some(joined.boot), Some(joined.key));
        (record.addr, record.image, record.agent) = (Some(joined.addr), Some(joined.image), Some(joined.agent));
        (record.memory, record.failing) = (Some(joined.memory), false);
        record.clock_offset_ms = Some(joined.clock_offset_ms);
        record.stamped.entry(Phase::Join).or_insert(now);
    }

    /// Start of the boot that a report is of. A boot that this head never heard of begins with it.
    fn reporting(&mut self, now: UnixTime, node: &NodeName, boot: BootId) -> UnixTime {
        let known = self.of(node).rev().find(|record| record.boot == Some(boot)).map(|record| record.started);
        known.unwrap_or_else(|| {
            let started = self.begin(node, now);
            if let Some(record) = self.record_mut(node, started) {
                record.boot = Some(boot);
            }
            started
        })
    }

    fn report(&mut self, now: UnixTime, node: &NodeName, started: UnixTime, batch: ReportBatch) {
        let mut events = batch.events;
        events.truncate(REPORT_EVENTS_MAX);
        let Some(record) = self.record_mut(node, started) else { return };
        events.retain(|event| is_new(record, event.seq));
        anchor(record, now, &events);
        if let Some(swarm) = batch.swarm {
            // A report that was overtaken must not turn the counters back.
            let moved = |swarm: &SwarmSummary| swarm.from_heads + swarm.from_peers + swarm.served;
            if !events.is_empty() || record.swarm.is_none_or(|old| moved(&old) <= moved(&swarm)) {
                record.swarm = Some(swarm);
            }
        }
        for event in events {
            self.apply(now, node, started, event);
        }
        self.ask_probe(node, started);
    }

    /// Asks for the login check that a boot waits for, once.
    fn ask_probe(&mut self, node: &NodeName, started: UnixTime) {
        let asked = self.record(node, started).and_then(probe);
        if asked.is_some() && self.probing.insert((node.clone(), started)) {
            self.output.extend(asked);
        }
    }

    fn apply(&mut self, now: UnixTime, node: &NodeName, started: UnixTime, event: ReportEvent) {
        let before = self.record(node, started).map(BootRecord::state);
        let Some(record) = self.record_mut(node, started) else { return };
        let at = record.anchor.map_or(now, |anchor| anchor.at(event.at_ms));
        let mut say = None;
        match event.kind {
            ReportKind::Reached(phase) => {
                record.failing = false;
                if phase >= Phase::Join {
                    record.reached.entry(phase).or_insert(event.at_ms);
                }
            }
            ReportKind::Failed { phase, reason, retry_s } => {
                record.failing = true;
                let reason = cut(reason);
                say = Some((Severity::Warning, format!("{phase} failed: {reason}; it tries again in {retry_s} s")));
                record.failures.push(Failure { phase, reason, retry_s, agent_ms: event.at_ms });
                record.failures.drain(..record.failures.len().saturating_sub(FAILURES_MAX));
            }
            ReportKind::Log(text) => {
                let number = record.logged;
                record.logged += 1;
                self.batch.lines.push((node.clone(), started, number, LogLine { at, text: cut(text) }));
            }
            ReportKind::CorruptFrom { peer, unit } if record.key == Some(peer) => {
                let text = format!("unit {unit} went bad where it is stored: this node's memory is the suspect");
                say = Some((Severity::Warning, text));
            }
            ReportKind::CorruptFrom { peer, unit } => {
                let name = self.latest().find(|boot| boot.key == Some(peer)).map(|boot| boot.node.to_string());
                let from = name.unwrap_or_else(|| format!("key {peer:.16}"));
                say = Some((Severity::Warning, format!("unit {unit} arrived corrupt from {from}")));
            }
            ReportKind::Restarted { how } => {
                record.restarts += 1;
                say = Some((Severity::Warning, format!("the agent was restarted: {}", cut(how))));
            }
            ReportKind::System { state, mut failed } => {
                failed.truncate(32);
                (record.system, record.failed_units) = (Some(cut(state)), failed.into_iter().map(cut).collect());
            }
            ReportKind::ClockStepped { offset_ms } => record.clock_offset_ms = Some(-offset_ms),
            ReportKind::MemAvailable(bytes) => record.mem_available = Some(bytes),
            ReportKind::Used { cpu_ms, memory_peak } => record.used = Some(AgentUse { cpu_ms, memory_peak }),
            ReportKind::Trouble(text) => say = Some((Severity::Warning, cut(text))),
        }
        if let Some((severity, text)) = say {
            self.event(at, severity, Some(node.clone()), text);
        }
        self.tell_ready(now, node, started, before);
    }

    fn login(&mut self, now: UnixTime, node: &NodeName, started: UnixTime, result: Result<(), String>) {
        self.probing.remove(&(node.clone(), started));
        let before = self.record(node, started).map(BootRecord::state);
        let Some(record) = self.record_mut(node, started) else { return };
        match result {
            Ok(()) => (record.login, record.login_failed) = (record.login.or(Some(now)), None),
            Err(why) => {
                record.login_failed = Some(why.clone());
                self.event(now, Severity::Warning, Some(node.clone()), format!("the login check was given up: {why}"));
            }
        }
        self.tell_ready(now, node, started, before);
    }

    fn tell_ready(&mut self, now: UnixTime, node: &NodeName, started: UnixTime, before: Option<BootState>) {
        let up = |state: BootState| matches!(state, BootState::Ready | BootState::Degraded);
        let Some(record) = self.record(node, started) else { return };
        let state = record.state();
        if !up(state) || before.is_some_and(up) {
            return;
        }
        let secs = record.at(Phase::Ready).map_or(0, |at| at.0.saturating_sub(started.0)) / 1000;
        let (severity, text) = match state {
            BootState::Degraded => {
                (Severity::Warning, format!("degraded after {secs} s: {}", record.failed_units.join(", ")))
            }
            _ => (Severity::Info, format!("ready after {secs} s")),
        };
        self.event(now, severity, Some(node.clone()), text);
    }
}

/// Takes note of an event's number; `false` if it was here before.
fn is_new(record: &mut BootRecord, seq: u64) -> bool {
    if seq <= record.through {
        return record.missing.remove(&seq);
    }
    let gap = (record.through + 1..seq).take(MISSING_MAX.saturating_sub(record.missing.len()));
    record.missing.extend(gap);
    record.through = seq;
    true
}

/// Ties the agent's clock to the head's: by the join where its report has come, else by the report that came first.
fn anchor(record: &mut BootRecord, now: UnixTime, events: &[ReportEvent]) {
    if record.anchor.is_some_and(|anchor| anchor.exact) {
        return;
    }
    let join = events.iter().find(|event| event.kind == ReportKind::Reached(Phase::Join));
    if let (Some(head), Some(event)) = (record.joined, join) {
        record.anchor = Some(Anchor { head, agent_ms: event.at_ms, exact: true });
        record.stamped.insert(Phase::Join, head);
    } else if let (None, Some(last)) = (record.anchor, events.iter().map(|event| event.at_ms).max()) {
        record.anchor = Some(Anchor { head: now, agent_ms: last, exact: false });
    }
}

/// The login check that a boot waits for.
fn probe(record: &BootRecord) -> Option<Output> {
    let due = record.reached.contains_key(&Phase::Pivot) || record.reached.contains_key(&Phase::Ready);
    let waiting = record.login.is_none() && record.login_failed.is_none();
    let addr = record.addr?;
    (due && waiting).then(|| Output::Probe { node: record.node.clone(), started: record.started, addr })
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REPORT_TEXT_MAX));
    text
}
