//! The simulated rows of the figures: what is simulated, what the goal is, what was measured.

use core::time::Duration;

use anyhow::Result;
use serde::Serialize;
use wulfpack_head::plan::{Fail, Figures, Rate, Setup, Size, Watch, run};
use wulfpack_shared::sim::Unobserved;
use wulfpack_shared::time::Mono;

/// What a row must reach. The worst seed counts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Goal {
    /// `T_last / T*` at most.
    pub ratio: Option<f64>,
    /// Copies from the head at most.
    pub copies: Option<f64>,
    /// Share of the bytes that crosses racks at most.
    pub cross: Option<f64>,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What is simulated; the seed is set later.
    pub setup: Setup,
    /// What it must reach.
    pub goal: Goal,
}

/// What was measured, the worst of all seeds in each figure.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The row's name.
    pub row: &'static str,
    /// Nodes.
    pub nodes: u32,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// The goal.
    pub goal: Goal,
    /// `T_last / T*`; `None` if nobody completed.
    pub ratio: Option<f64>,
    /// Of the best seed.
    pub best_ratio: Option<f64>,
    /// Copies from the head.
    pub head_egress_copies: f64,
    /// Share of the bytes that crossed racks.
    pub cross_rack_fraction: f64,
    /// Cancels for each GiB delivered.
    pub cancels_per_gib: f64,
    /// Part of the requests that were turned down for want of a slot.
    pub busy_fraction: f64,
    /// Nodes that should have completed and did not, over all seeds.
    pub missing: u32,
    /// Whether the goal was met.
    pub met: bool,
    /// Seconds that the simulation of one seed took at most.
    pub wall_s: f64,
    /// The seeds.
    pub seeds: Vec<u64>,
}

const GBIT: u64 = 1_000_000_000;

/// 10 Gbit/s, 1 GiB in chunks of 1 MiB, 100 µs one way, the head as fast as a node, all switched on at once.
fn base(nodes: u32) -> Setup {
    Setup {
        nodes,
        image: Size(1 << 30),
        chunk: Some(Size(1 << 20)),
        nic: Rate(10 * GBIT),
        head_nic: Rate(10 * GBIT),
        heads: 1,
        racks: 0,
        oversubscription: 1.0,
        latency: Duration::from_micros(100),
        stagger: Duration::ZERO,
        cpu: None,
        slow: None,
        fail: vec![],
        noticed: Setup::NOTICED,
        boot: Size(40 << 20),
        seed: 1,
    }
}

fn fails(texts: &[&str]) -> Vec<Fail> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// All rows, in the order of the table in docs/swarm.md.
pub fn rows() -> Vec<Row> {
    let ratio = |ratio| Goal { ratio: Some(ratio), ..Goal::default() };
    let once = |ratio| Goal { ratio: Some(ratio), copies: Some(1.15), cross: None };
    let racked = Goal { ratio: Some(1.15), copies: None, cross: Some(0.08) };
    let row = |name, setup, goal| Row { name, setup, goal };
    let racks = || Setup { racks: 25, oversubscription: 10.0, ..base(1000) };
    let fast_head = || Setup { head_nic: Rate(100 * GBIT), ..base(1000) };
    let real =
        Setup { image: Size(4 << 30), chunk: None, nic: Rate(25 * GBIT), head_nic: Rate(25 * GBIT), ..base(1000) };
    let stagger = base(1000).transfer();
    vec![
        row("100 nodes", base(100), once(1.05)),
        row("1,000 nodes", base(1000), once(1.05)),
        row("10,000 nodes", base(10_000), once(1.08)),
        row("real chunk table, 4 GiB, 25 Gbit/s", real, ratio(1.10)),
        row("50 GiB", Setup { image: Size(50 << 30), ..base(1000) }, ratio(1.15)),
        row("latency 1 ms", Setup { latency: Duration::from_millis(1), ..base(1000) }, ratio(1.15)),
        row("joins over one F/C", Setup { stagger, ..base(1000) }, ratio(1.15)),
        row("racks of 40, 10:1", racks(), racked),
        row("the same, tracker dead", Setup { fail: fails(&["tracker@20ms"]), ..racks() }, racked),
        row("2 % of nodes at 1 % speed", Setup { slow: "2%@1%".parse().ok(), ..base(1000) }, ratio(1.12)),
        row("20 % die in mid-transfer", Setup { fail: fails(&["20%@50%"]), ..base(1000) }, ratio(1.15)),
        row("head dies at covered", Setup { fail: fails(&["head@covered"]), ..base(1000) }, ratio(1.3)),
        row(
            "head at 10x and 20 % die after 1.5 copies",
            Setup { fail: fails(&["head@1.5copies", "20%@1.5copies"]), ..fast_head() },
            ratio(1.3),
        ),
        row("head at 10x", fast_head(), Goal { ratio: Some(1.05), copies: Some(1.5), cross: None }),
    ]
}

struct Nobody;

impl Watch for Nobody {
    fn progress(&self, _done: u64, _total: u64, _now: Mono) {}
}

/// Runs a row once.
pub fn measure(row: &Row, seed: u64) -> Result<Figures> {
    Ok(run(&Setup { seed, ..row.setup.clone() }, false, &mut Unobserved, &Nobody)?)
}

fn worst(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

impl Measured {
    /// What all seeds of a row gave, and the seconds that each took.
    pub fn of(row: &Row, runs: &[(Figures, f64)]) -> Self {
        let figures = || runs.iter().map(|(figures, _)| figures);
        let missing = figures().map(|one| one.expected.saturating_sub(one.completed)).sum();
        let ratios: Option<Vec<f64>> = figures().map(|one| one.ratio).collect();
        let ratio = ratios.as_ref().map(|ratios| worst(ratios.iter().copied()));
        let copies = worst(figures().map(|one| one.head_egress_copies));
        let cross = worst(figures().map(|one| one.cross_rack_fraction));
        let within = |goal: Option<f64>, value: f64| goal.is_none_or(|goal| value <= goal);
        let sound = figures().all(Figures::is_sound);
        let met = sound
            && ratio.is_some_and(|ratio| within(row.goal.ratio, ratio))
            && within(row.goal.copies, copies)
            && within(row.goal.cross, cross);
        Self {
            row: row.name,
            nodes: row.setup.nodes,
            image_bytes: row.setup.image.0,
            goal: row.goal,
            ratio,
            best_ratio: ratios.map(|ratios| ratios.into_iter().fold(f64::INFINITY, f64::min)),
            head_egress_copies: copies,
            cross_rack_fraction: cross,
            cancels_per_gib: worst(figures().map(|one| one.cancels_per_gib)),
            busy_fraction: worst(figures().map(|one| one.busy_fraction)),
            missing,
            met,
            wall_s: worst(runs.iter().map(|(_, wall)| *wall)),
            seeds: figures().map(|one| one.seed).collect(),
        }
    }

    /// The headings of [`Self::line`].
    pub const HEADINGS: &'static str = "row                                        T_last/T* (best)  goal   copies  goal   cross %  goal  cancels/GiB  busy %  missing  wall s";

    /// It as a line of a table.
    pub fn line(&self) -> String {
        let or_dash = |value: Option<f64>, digits: usize, factor: f64| {
            value.map_or_else(|| "-".into(), |value| format!("{:.digits$}", value * factor))
        };
        format!(
            "{:<42} {:>9} {:>7}  {:>5}  {:>6.3}  {:>5}  {:>6.1}  {:>5}  {:>10.2}  {:>6.1}  {:>7}  {:>6.1}{}",
            self.row,
            or_dash(self.ratio, 3, 1.0),
            or_dash(self.best_ratio, 3, 1.0),
            or_dash(self.goal.ratio, 2, 1.0),
            self.head_egress_copies,
            or_dash(self.goal.copies, 2, 1.0),
            self.cross_rack_fraction * 100.0,
            or_dash(self.goal.cross, 0, 100.0),
            self.cancels_per_gib,
            self.busy_fraction * 100.0,
            self.missing,
            self.wall_s,
            if self.met { "" } else { "  MISSED" },
        )
    }
}
