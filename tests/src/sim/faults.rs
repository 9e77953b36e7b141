//! Scenarios from one seed: how many nodes, on what links, and what goes wrong when.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wulfpack_shared::sim::{Fault, Spec};
use wulfpack_shared::time::Mono;

/// What kind of things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Nothing.
    Calm,
    /// Nodes die and return, links stall and become slow, some join late, messages are delayed.
    Rough,
    /// Some members send corrupt units or boast of what they do not hold.
    Liars,
    /// The head dies at a random moment and returns.
    HeadGone,
    /// Members that never answer, whose links carry a byte a second, that say what makes no sense, that flood others with
    /// handshakes, or that show certificates which do not count.
    Nuisances,
    /// Cables that are out for five seconds and in for five; a rack that is cut off for half of the transfer.
    Cuts,
    /// One message in a hundred is lost, and messages are delayed.
    Lossy,
    /// Stores that are full for a while, and a node whose memory alters what it receives.
    BadMachines,
    /// The tracker restarts or dies; two heads, of which one dies.
    Heads,
}

impl Story {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Calm,
        Self::Rough,
        Self::Liars,
        Self::HeadGone,
        Self::Nuisances,
        Self::Cuts,
        Self::Lossy,
        Self::BadMachines,
        Self::Heads,
    ];

    /// The story that a seed tells where it is known by the seed alone.
    pub const fn of(seed: u64) -> Self {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }
}

/// A simulation and its faults.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What is simulated.
    pub spec: Spec,
    /// What goes wrong.
    pub faults: Vec<(Mono, u32, Fault)>,
    /// Members that lie to the end.
    pub liars: Vec<u32>,
    /// By then every living node must be complete: faults have stopped, and 3 T* + 2 x the longest backoff + 5 s have passed.
    pub deadline: Mono,
}

/// The longest backoff of a correct engine.
const LONGEST_BACKOFF: Duration = Duration::from_secs(64);

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n.max(1)
    }

    fn node(&mut self, spec: &Spec) -> u32 {
        spec.heads + self.below(u64::from(spec.nodes())) as u32
    }

    fn during(&mut self, time: Duration) -> Mono {
        Mono(self.below(time.as_nanos() as u64))
    }
}

impl Scenario {
    /// The scenario of a seed: 2 to 12 nodes, 8 to 24 MiB, links of 10 to 100 MB/s.
    pub fn new(story: Story, seed: u64) -> Self {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let nodes = 2 + dice.below(11) as u32;
        let rate = 10_000_000 * (1 + dice.below(10));
        let mut spec = Spec::equal(nodes, rate, (8 + dice.below(17)) << 20, seed);
        let calm = spec.bound();
        let (mut faults, mut liars) = (vec![], vec![]);
        match story {
            Story::Calm => {}
            Story::Rough => faults = rough(&mut dice, &mut spec, rate, calm),
            Story::Liars => {
                for _ in 0..=nodes / 4 {
                    let liar = dice.node(&spec);
                    liars.push(liar);
                    let fault = if dice.below(2) == 0 { Fault::Corrupt(true) } else { Fault::Boast };
                    faults.push((Mono::from_millis(20) + Duration::from_nanos(dice.during(calm / 2).0), liar, fault));
                }
            }
            Story::HeadGone => {
                let dies = dice.during(calm * 3 / 2);
                faults.push((dies, 0, Fault::Die));
                faults.push((dies + Duration::from_millis(3000 + dice.below(20_000)), 0, Fault::Return));
            }
            Story::Nuisances => nuisances(&mut dice, &spec, calm, &mut faults, &mut liars),
            Story::Cuts => faults = cuts(&mut dice, &mut spec, calm),
            Story::Lossy => {
                spec.links.loss_ppm = 10_000;
                spec.links.jitter = Duration::from_micros(dice.below(5000));
            }
            Story::BadMachines => bad_machines(&mut dice, &spec, calm, &mut faults, &mut liars),
            Story::Heads => faults = heads(&mut dice, &mut spec, calm),
        }
        for &liar in &liars {
            spec.members[liar as usize].awaited = false;
        }
        let over = faults.iter().map(|&(at, ..)| at).chain(spec.members.iter().map(|member| member.start)).max();
        let deadline = over.unwrap_or_default() + spec.bound() * 3 + LONGEST_BACKOFF * 2 + Duration::from_secs(5);
        Self { spec, faults, liars, deadline }
    }
}

fn rough(dice: &mut Dice, spec: &mut Spec, rate: u64, calm: Duration) -> Vec<(Mono, u32, Fault)> {
    let mut faults = vec![];
    spec.links.jitter = Duration::from_micros(dice.below(2000));
    for member in spec.members.iter_mut().skip(1) {
        if dice.below(4) == 0 {
            member.start = dice.during(calm * 2);
        }
        if dice.below(4) == 0 {
            member.rate = rate / (2 + dice.below(3));
        }
    }
    for _ in 0..1 + dice.below(6) {
        let (node, at) = (dice.node(spec), dice.during(calm));
        match dice.below(3) {
            0 => {
                faults.push((at, node, Fault::Die));
                if dice.below(2) == 0 {
                    faults.push((at + Duration::from_millis(500 + dice.below(4000)), node, Fault::Return));
                }
            }
            1 => faults.push((at, node, Fault::Stall(100 + dice.below(3000) as u32))),
            _ => {
                faults.push((at, node, Fault::Rate(rate / 50)));
                let again = spec.members.get(node as usize).map_or(rate, |member| member.rate);
                faults.push((at + Duration::from_millis(dice.below(3000)), node, Fault::Rate(again)));
            }
        }
    }
    faults
}

fn nuisances(dice: &mut Dice, spec: &Spec, calm: Duration, faults: &mut Vec<(Mono, u32, Fault)>, liars: &mut Vec<u32>) {
    for _ in 0..=spec.nodes() / 4 {
        let (node, at) = (dice.node(spec), Mono::from_millis(5) + Duration::from_nanos(dice.during(calm / 2).0));
        let fault = match dice.below(5) {
            0 => Fault::Mute(true),
            1 => Fault::Rate(1),
            2 => Fault::Nonsense,
            3 => Fault::Flood(1 + dice.below(200) as u16),
            _ => Fault::Outlawed(true),
        };
        liars.push(node);
        faults.push((at, node, fault));
    }
}

fn cuts(dice: &mut Dice, spec: &mut Spec, calm: Duration) -> Vec<(Mono, u32, Fault)> {
    let mut faults = vec![];
    if dice.below(2) == 0 && spec.nodes() >= 4 {
        *spec = spec.clone().in_racks(2 + dice.below(2) as u16, (1 + dice.below(4)) as f64);
        let (node, half) = (dice.node(spec), u32::try_from(calm.as_millis() / 2).unwrap_or(u32::MAX));
        faults.push((dice.during(calm / 2), node, Fault::CutRack(half + dice.below(12_000) as u32)));
    }
    for _ in 0..1 + dice.below(2) {
        let (node, mut at) = (dice.node(spec), dice.during(calm));
        for _ in 0..1 + dice.below(3) {
            faults.push((at, node, Fault::Cut(5000)));
            at = at + Duration::from_secs(10);
        }
    }
    faults
}

fn bad_machines(
    dice: &mut Dice,
    spec: &Spec,
    calm: Duration,
    faults: &mut Vec<(Mono, u32, Fault)>,
    liars: &mut Vec<u32>,
) {
    let full = dice.node(spec);
    let at = dice.during(calm);
    faults.push((at, full, Fault::Full(true)));
    faults.push((at + Duration::from_millis(100 + dice.below(8000)), full, Fault::Full(false)));
    if spec.nodes() > 2 {
        let flips = dice.node(spec);
        liars.push(flips);
        faults.push((Mono::from_millis(1), flips, Fault::Flips(3 + dice.below(30) as u32)));
    }
}

fn heads(dice: &mut Dice, spec: &mut Spec, calm: Duration) -> Vec<(Mono, u32, Fault)> {
    let mut faults = vec![];
    if dice.below(2) == 0 {
        let head = spec.members[0];
        spec.members.insert(1, head);
        spec.heads = 2;
        faults.push((dice.during(calm), dice.below(2) as u32, Fault::Die));
    }
    let at = dice.during(calm);
    faults.push((at, 0, Fault::TrackerDead(true)));
    faults.push((at + Duration::from_millis(dice.below(10_000)), 0, Fault::TrackerDead(false)));
    faults
}
