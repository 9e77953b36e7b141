//! What people and programs are shown: status of nodes now, and the report of boots. Pure; the field names are stable.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{ImageName, NodeName, VersionId};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{Phase, SwarmSummary};

use super::{AgentUse, Approval, BootBytes, BootRecord, BootState, Failure};

/// One node as it stands now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// Where its last boot stands; `None` if this cluster's heads have not seen it boot.
    pub state: Option<BootState>,
    /// The phase it is in, while it boots.
    pub phase: Option<Phase>,
    /// When its last boot began.
    pub started: Option<UnixTime>,
    /// When the heads last heard of it.
    pub heard: Option<UnixTime>,
    /// Seconds from the beginning of its boot until it was ready.
    pub ready_s: Option<f64>,
    /// Its address.
    pub addr: Option<IpAddr>,
    /// The image version that it boots.
    pub image: Option<VersionId>,
    /// Verified units of the image.
    pub held: u32,
    /// Units of the image.
    pub total: u32,
    /// Verified bytes that came from heads.
    pub bytes_from_head: u64,
    /// Verified bytes that came from peers.
    pub bytes_from_peers: u64,
    /// Bytes that it served to others.
    pub bytes_served: u64,
    /// What the swarm took of its link and what its caps and policy did.
    pub traffic: Traffic,
    /// What to know about it.
    pub message: Option<String>,
}

impl NodeStatus {
    /// A node without a boot.
    pub const fn unseen(name: NodeName) -> Self {
        Self {
            name,
            state: None,
            phase: None,
            started: None,
            heard: None,
            ready_s: None,
            addr: None,
            image: None,
            held: 0,
            total: 0,
            bytes_from_head: 0,
            bytes_from_peers: 0,
            bytes_served: 0,
            traffic: Traffic::NONE,
            message: None,
        }
    }

    /// The node whose last boot is `record`.
    pub fn of(record: &BootRecord) -> Self {
        let (state, swarm) = (record.state(), record.swarm.unwrap_or_default());
        let booting = matches!(state, BootState::Booting | BootState::Failed);
        Self {
            name: record.node.clone(),
            state: Some(state),
            phase: booting.then(|| record.phase()),
            started: Some(record.started),
            heard: Some(record.heard),
            ready_s: since(record, Phase::Ready),
            addr: record.addr,
            image: record.image,
            held: swarm.held,
            total: swarm.total,
            bytes_from_head: swarm.from_heads,
            bytes_from_peers: swarm.from_peers,
            bytes_served: swarm.served,
            traffic: Traffic::of(&swarm),
            message: message(record, state),
        }
    }
}

/// What the swarm took of a node's link since it booted, and what its caps and seed policy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes that its data plane sent, headers included.
    pub bytes_sent: u64,
    /// Bytes that it received.
    pub bytes_received: u64,
    /// Seconds that what was to be sent waited for the upload cap, all transfers together.
    pub upload_waited_s: f64,
    /// The same for the download cap.
    pub download_waited_s: f64,
    /// Callers and requests that it turned away: no slot was free, or it was paused.
    pub turned_away: u32,
}

impl Traffic {
    const NONE: Self =
        Self { bytes_sent: 0, bytes_received: 0, upload_waited_s: 0.0, download_waited_s: 0.0, turned_away: 0 };

    fn of(swarm: &SwarmSummary) -> Self {
        Self {
            bytes_sent: swarm.sent,
            bytes_received: swarm.received,
            upload_waited_s: secs(swarm.upload_waited_ms),
            download_waited_s: secs(swarm.download_waited_ms),
            turned_away: swarm.turned_away,
        }
    }
}

fn message(record: &BootRecord, state: BootState) -> Option<String> {
    match state {
        BootState::Failed => record
            .failures
            .last()
            .map(|failure| format!("{} failed: {}; again every {} s", failure.phase, failure.reason, failure.retry_s)),
        BootState::Degraded => Some(format!("failed units: {}", record.failed_units.join(", "))),
        BootState::Booting => match (&record.login_failed, record.waits()) {
            (Some(why), _) => Some(format!("no login: {why}")),
            (None, Some(Approval { mac, addr, .. })) => {
                Some(format!("{mac} at {addr} waits for approval: `wulf node approve {}`", record.node))
            }
            (None, None) => None,
        },
        BootState::Ready => None,
    }
}

fn secs(ms: u64) -> f64 {
    // Times of boots are far below 2^53 ms, where f64 is exact.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let ms = ms as f64;
    ms / 1000.0
}

fn since(record: &BootRecord, phase: Phase) -> Option<f64> {
    Some(secs(record.at(phase)?.0.saturating_sub(record.started.0)))
}

/// One boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub name: NodeName,
    /// Where the boot stands.
    pub state: BootState,
    /// When it began.
    pub started: UnixTime,
    /// Seconds that each phase took; `null` where nobody saw its beginning or its end.
    pub phases_s: BTreeMap<Phase, Option<f64>>,
    /// Seconds from the beginning until the end of each phase.
    pub reached_s: BTreeMap<Phase, Option<f64>>,
    /// Verified bytes of the image that came from heads.
    pub bytes_from_head: u64,
    /// Verified bytes of the image that came from peers.
    pub bytes_from_peers: u64,
    /// Bytes of the image that it served.
    pub bytes_served: u64,
    /// Bytes that arrived in addition to the verified ones.
    pub bytes_wasted: u64,
    /// What the swarm took of its link and what its caps and policy did.
    pub traffic: Traffic,
    /// Bytes of boot services: NBP, script, kernel and initramfs.
    pub boot_bytes: BootBytes,
    /// Requests that were cancelled at their deadline.
    pub cancelled: u32,
    /// MemAvailable at ready in bytes.
    pub mem_available: Option<u64>,
    /// What the agent had used when the image was complete; `null` if it never was.
    pub agent: Option<AgentUse>,
    /// Failures on the way.
    pub failures: Vec<Failure>,
    /// Failed units.
    pub failed_units: Vec<String>,
}

impl NodeReport {
    /// The report of one boot.
    pub fn of(record: &BootRecord) -> Self {
        let swarm = record.swarm.unwrap_or_default();
        Self {
            name: record.node.clone(),
            state: record.state(),
            started: record.started,
            phases_s: Phase::ALL.into_iter().map(|phase| (phase, record.took_ms(phase).map(secs))).collect(),
            reached_s: Phase::ALL.into_iter().map(|phase| (phase, since(record, phase))).collect(),
            bytes_from_head: swarm.from_heads,
            bytes_from_peers: swarm.from_peers,
            bytes_served: swarm.served,
            bytes_wasted: swarm.wasted,
            traffic: Traffic::of(&swarm),
            boot_bytes: record.bytes,
            cancelled: swarm.cancelled,
            mem_available: record.mem_available,
            agent: record.used,
            failures: record.failures.clone(),
            failed_units: record.failed_units.clone(),
        }
    }
}

/// How long one phase took over all reported boots, in seconds; nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseStats {
    /// Boots of which it is known.
    pub known: usize,
    /// Half took no longer.
    pub p50: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

/// What this head has sent of one image version since it started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageEgress {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: VersionId,
    /// Bytes of one copy: table and blob.
    pub bytes: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// The report of a set of boots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootReport {
    /// Each boot, by node.
    pub nodes: Vec<NodeReport>,
    /// Each phase over all of them.
    pub phases: BTreeMap<Phase, PhaseStats>,
    /// Seconds from the beginning of the first boot until the last was ready; `null` while one is not.
    pub makespan_s: Option<f64>,
    /// What the head has sent of each image since it started.
    pub images: Vec<ImageEgress>,
    /// Their sum in bytes.
    pub head_image_bytes_sent: u64,
    /// Bytes of boot services over all reported boots.
    pub boot_bytes: BootBytes,
}

impl BootReport {
    /// The report of these boots.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a BootRecord>, images: Vec<ImageEgress>) -> Self {
        let records: Vec<_> = records.into_iter().collect();
        let nodes: Vec<_> = records.iter().map(|record| NodeReport::of(record)).collect();
        let phases = Phase::ALL.into_iter().filter_map(|phase| Some((phase, stats(&nodes, phase)?))).collect();
        let ready: Option<Vec<u64>> = records.iter().map(|record| Some(record.at(Phase::Ready)?.0)).collect();
        let begun = records.iter().map(|record| record.started.0).min();
        let last = ready.and_then(|ready| ready.into_iter().max());
        let makespan_s = last.zip(begun).map(|(last, begun)| secs(last.saturating_sub(begun)));
        let boot_bytes = records.iter().fold(BootBytes::default(), |sum, record| BootBytes {
            nbp: sum.nbp + record.bytes.nbp,
            script: sum.script + record.bytes.script,
            kernel: sum.kernel + record.bytes.kernel,
        });
        let head_image_bytes_sent = images.iter().map(|image| image.sent).sum();
        Self { nodes, phases, makespan_s, images, head_image_bytes_sent, boot_bytes }
    }
}

fn stats(nodes: &[NodeReport], phase: Phase) -> Option<PhaseStats> {
    let mut known: Vec<f64> = nodes.iter().filter_map(|node| *node.phases_s.get(&phase)?).collect();
    known.sort_by(f64::total_cmp);
    let rank = |percent: usize| known.get((known.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(PhaseStats { known: known.len(), p50: rank(50)?, p95: rank(95)?, max: rank(100)? })
}

#[cfg(test)]
mod tests {
    use super::super::Anchor;
    use super::*;

    fn record(name: &str, started: u64, fetch_ms: u64) -> BootRecord {
        let mut record = BootRecord::new(name.parse().unwrap(), UnixTime(started));
        record.stamped.insert(Phase::Join, UnixTime(started));
        record.anchor = Some(Anchor { head: UnixTime(started), agent_ms: 0, exact: true });
        record.reached.insert(Phase::Fetch, fetch_ms);
        record
    }

    #[test]
    fn percentiles_are_of_what_is_known() {
        let records: Vec<_> = (1..=20).map(|n| record(&format!("n{n}"), 1000, n * 1000)).collect();
        let report = BootReport::of(&records, vec![]);
        assert_eq!(report.phases[&Phase::Fetch], PhaseStats { known: 20, p50: 10.0, p95: 19.0, max: 20.0 });
        assert!(!report.phases.contains_key(&Phase::Mount));
        assert_eq!(report.makespan_s, None);
        assert_eq!(report.nodes[0].phases_s[&Phase::Mount], None);
    }

    #[test]
    fn the_makespan_is_from_the_first_power_on_to_the_last_login() {
        let mut records = vec![record("n1", 1000, 10), record("n2", 3000, 10)];
        for record in &mut records {
            record.reached.insert(Phase::Ready, 8000);
            record.login = Some(record.started);
        }
        assert_eq!(BootReport::of(&records, vec![]).makespan_s, Some(10.0));
        let status = NodeStatus::of(&records[0]);
        assert_eq!((status.state, status.phase, status.ready_s), (Some(BootState::Ready), None, Some(8.0)));
    }

    #[test]
    fn the_report_reads_back_from_json() {
        let report = BootReport::of(&[record("n1", 1, 2)], vec![]);
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains(r#""mount":null"#), "{json}");
        assert_eq!(serde_json::from_str::<BootReport>(&json).unwrap(), report);
    }
}
