//! What came of a plan.

use core::time::Duration;

use serde::Serialize;
use wulfpack_shared::sim::{Spec, Tracker, World};
use wulfpack_shared::time::Mono;

use super::setup::Setup;

/// The figures of one run. Times are seconds; each node's counts from when the first was switched on, or, where they are
/// switched on one after the other, from its own start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Until the first node had every byte verified; `None` if none had.
    pub t_first_s: Option<f64>,
    /// Until half of those that completed had.
    pub t_median_s: Option<f64>,
    /// Until 99 of 100 of them had.
    pub t_p99_s: Option<f64>,
    /// Until the last of them had.
    pub t_last_s: Option<f64>,
    /// The bound T*: no swarm is faster.
    pub bound_s: f64,
    /// `t_last_s` over `bound_s`.
    pub ratio: Option<f64>,
    /// What one server with the head's link needs for the image.
    pub single_server_s: f64,
    /// Image bytes that left the heads, in copies.
    pub head_egress_copies: f64,
    /// Of the image bytes that nodes took in, those that came into a rack from outside of it.
    pub cross_rack_fraction: f64,
    /// Bytes of kernel and initramfs, which the head sends to each node beside the image.
    pub boot: BootBytes,
    /// What the same image takes over HTTP from the head, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Nodes that completed.
    pub completed: u32,
    /// Nodes that lived to the end and are as fast as the others: `completed` should be as many.
    pub expected: u32,
    /// Nodes in all.
    pub nodes: u32,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// Chunks of the image.
    pub chunks: u32,
    /// Requests that missed their deadline and were cancelled, for each GiB that was delivered.
    pub cancels_per_gib: f64,
    /// Requests that were turned down for want of a slot, of all.
    pub busy_fraction: f64,
    /// Bytes that arrived although they were held, of all.
    pub duplicate_fraction: f64,
    /// When every chunk was verified on two live nodes.
    pub covered_s: Option<f64>,
    /// Events that were simulated.
    pub events: u64,
    /// What everything random came from.
    pub seed: u64,
}

/// Kernel and initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BootBytes {
    /// Of one node.
    pub bytes_per_node: u64,
    /// That leave the head for all.
    pub head_bytes: u64,
    /// The same in copies of the image.
    pub head_copies: f64,
    /// How long that takes the head's link.
    pub t_s: f64,
}

/// One web server that all nodes fetch the image from: max(N F / Us, F / C, a rack's nodes' F / its uplink).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Http {
    /// Until the last node has it; all get an even share, so the first has it not much earlier.
    pub t_last_s: f64,
    /// Copies that leave the head.
    pub head_egress_copies: f64,
    /// How often the swarm is as fast.
    pub times_slower: Option<f64>,
}

fn quantile(times: &[f64], part: f64) -> Option<f64> {
    let last = times.len().checked_sub(1)?;
    let index = ((times.len() as f64 * part).ceil() as usize).saturating_sub(1);
    times.get(index.min(last)).copied()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Figures {
    /// Of a simulation that is over.
    pub(super) fn of<T: Tracker>(setup: &Setup, world: &World<T>, http: bool) -> Self {
        let spec = world.spec();
        let (bound, image) = (spec.bound().as_secs_f64(), spec.image.units.blob_len);
        let origin = world.begun().unwrap_or_default();
        let nodes = || spec.heads..spec.heads + spec.nodes();
        let healthy = |node: &u32| spec.members.get(*node as usize).is_some_and(|member| member.awaited);
        let time = |node: u32| {
            let began = if setup.stagger.is_zero() { origin } else { world.started(node).unwrap_or(origin) };
            world.finished(node).map(|at| at.since(began).as_secs_f64())
        };
        let mut times: Vec<f64> = nodes().filter(healthy).filter_map(time).collect();
        times.sort_by(f64::total_cmp);
        let (totals, (crossed, taken)) = (world.totals(), world.cross_rack());
        let last = times.last().copied();
        let delivered = totals.bytes_from_heads + totals.bytes_from_peers;
        Self {
            t_first_s: times.first().copied(),
            t_median_s: quantile(&times, 0.5),
            t_p99_s: quantile(&times, 0.99),
            t_last_s: last,
            bound_s: bound,
            ratio: last.map(|last| last / bound),
            single_server_s: spec.single_server().as_secs_f64(),
            head_egress_copies: share(world.head_egress(), image),
            cross_rack_fraction: share(crossed, taken),
            boot: BootBytes::of(setup),
            http: http.then(|| Http::of(spec, last)),
            completed: u32::try_from(times.len()).unwrap_or(u32::MAX),
            expected: nodes().filter(healthy).filter(|&node| world.is_alive(node)).count() as u32,
            nodes: spec.nodes(),
            image_bytes: image,
            chunks: spec.image.units.chunks,
            cancels_per_gib: totals.missed as f64 / (delivered as f64 / f64::from(1 << 30)).max(1e-9),
            busy_fraction: share(totals.busy, totals.requests),
            duplicate_fraction: share(totals.bytes_duplicate, delivered),
            covered_s: world.covered().map(|at: Mono| at.since(origin).as_secs_f64()),
            events: world.events(),
            seed: spec.seed,
        }
    }

    /// Whether every node that lived completed, not faster than anything can.
    pub fn is_sound(&self) -> bool {
        self.completed >= self.expected && self.ratio.is_none_or(|ratio| ratio >= 1.0)
    }
}

impl BootBytes {
    fn of(setup: &Setup) -> Self {
        let head_bytes = setup.boot.0.saturating_mul(u64::from(setup.nodes));
        let heads = setup.head_nic.bytes() as f64 * f64::from(setup.heads.max(1));
        Self {
            bytes_per_node: setup.boot.0,
            head_bytes,
            head_copies: share(head_bytes, setup.image.0),
            t_s: head_bytes as f64 / heads,
        }
    }
}

impl Http {
    fn of(spec: &Spec, swarm: Option<f64>) -> Self {
        let mut time = spec.single_server();
        for (rack, &rate) in (0u16..).zip(&spec.rack_rates) {
            let nodes = spec.members.iter().filter(|member| member.rack == rack).count() as u64;
            let nanos =
                u128::from(spec.image.units.blob_len) * u128::from(nodes) * 1_000_000_000 / u128::from(rate.max(1));
            time = time.max(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        }
        let t_last_s = time.as_secs_f64();
        let times_slower = swarm.map(|swarm| t_last_s / swarm);
        Self { t_last_s, head_egress_copies: f64::from(spec.nodes()), times_slower }
    }
}
