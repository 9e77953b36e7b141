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
        1 + self.below(spec.members.len() as u64 - 1) as u32
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
