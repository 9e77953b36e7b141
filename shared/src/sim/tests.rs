//! The simulator against closed forms, and its rates against exact ones.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::exact::Exact;
use super::flows::{Flow, FlowId, Flows};
use super::link::{Network, Piece};
use super::queue::Queue;
use super::*;
use crate::swarm::{Config, ReqId, ServeId};
use crate::time::Mono;

const MIB: u64 = 1 << 20;

fn last(world: &World<RandomTracker>) -> f64 {
    let nodes = 1..world.spec().members.len() as u32;
    nodes.map(|node| world.finished(node).unwrap().0).max().unwrap() as f64 / 1e9
}

#[test]
fn one_node_takes_the_image_at_its_link_rate() {
    let mut world = World::new(Spec::equal(1, 100 * MIB, 100 * MIB, 1), RandomTracker::default());
    assert!(world.run_to_completion(Mono::from_millis(10_000), &mut Unobserved));
    assert!((1.0..1.04).contains(&last(&world)), "{}", last(&world));
    assert!((world.sent(0)..=world.received(1)).contains(&world.sent(0)));
}

#[test]
fn a_fast_head_is_as_fast_as_the_nodes_link() {
    let mut spec = Spec::equal(1, 100 * MIB, 100 * MIB, 1);
    spec.members[0].rate *= 10;
    spec.members[0].config = Config { slots_up: 40, ..Config::head() };
    let mut world = World::new(spec, RandomTracker::default());
    assert!(world.run_to_completion(Mono::from_millis(10_000), &mut Unobserved));
    assert!((1.0..1.04).contains(&last(&world)), "{}", last(&world));
}

#[test]
fn two_nodes_finish_as_fast_as_one() {
    let mut world = World::new(Spec::equal(2, 100 * MIB, 100 * MIB, 1), RandomTracker::default());
    assert!(world.run_to_completion(Mono::from_millis(10_000), &mut Unobserved));
    assert!((1.0..1.1).contains(&last(&world)), "{}", last(&world));
}

/// Transfers that all begin at once: from, to, units.
type Load = Vec<(u32, u32, u32)>;

fn enter(flows: &mut Flows, load: &Load, long: impl Fn(u32, u32) -> bool) -> Vec<FlowId> {
    let flow = |&(from, to, end): &(u32, u32, u32)| Flow {
        from,
        to,
        to_life: 0,
        serve: ServeId(0),
        req: ReqId(0),
        next: 0,
        offset: 0,
        end,
        ready: Flow::window(long(from, to)),
    };
    load.iter().map(|one| flows.insert(flow(one))).collect()
}

/// When each is through, in seconds, by exact rates.
fn exactly(spec: &Spec, load: &Load) -> Vec<f64> {
    let (mut exact, mut flows) = (Exact::new(spec), Flows::default());
    let ids = enter(&mut flows, load, |_, _| false);
    ids.iter().for_each(|&id| exact.begin(id, &flows, &spec.image, Mono::ZERO));
    let (mut done, mut now) = (vec![0.0; ids.len()], Mono::ZERO);
    while let Some(at) = exact.settle(now) {
        now = at;
        for through in exact.through(now, &mut flows, &spec.image).into_iter().filter(|through| through.last) {
            let index = ids.iter().position(|&id| id == through.flow).unwrap();
            done[index] = now.0 as f64 / 1e9;
        }
    }
    done
}

enum Step {
    Turn(u32),
    Hop(Piece),
    Land(Piece),
}

/// The same, piece by piece.
fn piecewise(spec: &Spec, load: &Load) -> Vec<f64> {
    let (mut net, mut queue) = (Network::new(spec), Queue::new(1_000_000));
    let mut flows = core::mem::take(&mut net.flows);
    let ids = enter(&mut flows, load, |from, to| net.crosses(from, to));
    net.flows = flows;
    for (&id, &(from, ..)) in ids.iter().zip(load) {
        net.begin(from, id);
    }
    let mut done = vec![0.0; ids.len()];
    let plan = |net: &mut Network, queue: &mut Queue<Step>, node: u32, now: Mono| {
        if let Some(at) = net.wants_turn(node, now) {
            queue.push(at, Step::Turn(node));
        }
    };
    load.iter().for_each(|&(from, ..)| plan(&mut net, &mut queue, from, Mono::ZERO));
    while let Some((now, step)) = queue.pop() {
        let mut landed = None;
        match step {
            Step::Turn(node) => {
                if let Some(mut piece) = net.turn(node, now, &spec.image) {
                    match net.leave_rack(&mut piece) {
                        Some(at) => queue.push(at, Step::Hop(piece)),
                        None => landed = Some(piece),
                    }
                }
                plan(&mut net, &mut queue, node, now);
            }
            Step::Hop(mut piece) => {
                let at = net.enter_rack(&mut piece, now);
                queue.push(at, Step::Land(piece));
            }
            Step::Land(piece) => landed = Some(piece),
        }
        if let Some(mut piece) = landed {
            net.take_in(&mut piece, now, true);
            if piece.ends_flow {
                done[ids.iter().position(|&id| id == piece.flow).unwrap()] = piece.received.0 as f64 / 1e9;
            }
            plan(&mut net, &mut queue, piece.from, now);
        }
    }
    done
}

/// Each node fetches from four random ones, some much, some little; a fifth of the links is slower.
fn random_load(spec: &mut Spec, seed: u64) -> Load {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |n: u32| rng.next_u32() % n;
    let nodes = spec.nodes();
    for member in &mut spec.members {
        if below(5) == 0 {
            member.rate /= 1 + u64::from(below(6));
        }
    }
    let mut load = vec![];
    for to in 1..=nodes {
        for _ in 0..4 {
            let from = 1 + (to - 1 + 1 + below(nodes - 1)) % nodes;
            load.push((from, to, 64 + below(192)));
        }
    }
    load
}

/// The mean and the worst deviation of the times, and that of the last.
fn deviations(spec: &mut Spec, seed: u64) -> (f64, f64, f64) {
    let load = random_load(spec, seed);
    let (exact, pieces) = (exactly(spec, &load), piecewise(spec, &load));
    let off: Vec<f64> = exact.iter().zip(&pieces).map(|(exact, pieces)| (pieces / exact - 1.0).abs()).collect();
    let last = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    (mean, off.iter().copied().fold(0.0, f64::max), (last(&pieces) / last(&exact) - 1.0).abs())
}

#[test]
fn rates_are_within_two_percent_of_exact_progressive_filling() {
    for nodes in [10, 50, 200] {
        let mut spec = Spec::equal(nodes, 1_250_000_000, 1 << 30, 1);
        let (mean, worst, last) = deviations(&mut spec, u64::from(nodes));
        let figures = format!("{nodes} nodes: {mean:.4} on average, {worst:.4} at worst, {last:.4} the last");
        assert!(mean < 0.02 && last < 0.02, "{figures}");
    }
}

/// A rack's uplink serves pieces in the order in which they come, not flow by flow: single flows get up to a third more or less
/// than their fair share, while the uplink carries what it can.
#[test]
fn rates_through_narrow_racks_are_within_six_percent_and_use_them_fully() {
    for (nodes, racks, oversubscription) in [(60, 4, 5.0), (120, 8, 10.0)] {
        let mut spec = Spec::equal(nodes, 1_250_000_000, 1 << 30, 1).in_racks(racks, oversubscription);
        let (mean, worst, last) = deviations(&mut spec, u64::from(nodes));
        let figures = format!("{nodes} nodes: {mean:.4} on average, {worst:.4} at worst, {last:.4} the last");
        assert!(mean < 0.06 && last < 0.03, "{figures}");
    }
}

/// A whole swarm takes about as long with exact rates as piece by piece: on average over nodes and seeds, as a choice that
/// falls otherwise leads to another run. In so short an image chance alone moves the mean of six seeds by some percent.
#[test]
fn a_swarm_is_about_as_fast_as_with_exact_rates() {
    let (nodes, seeds) = (12, 6);
    let mut sums = [0.0; 2];
    for seed in 1..=seeds {
        let mut spec = Spec::equal(nodes, 125_000_000, 32 * MIB, seed);
        spec.image = ImageSpec::equal(32 * MIB, 1 << 18);
        for (sum, exact) in sums.iter_mut().zip([true, false]) {
            spec.links.exact = exact;
            let mut world = World::new(spec.clone(), RandomTracker::default()).untraced();
            assert!(world.run_to_completion(Mono::from_millis(60_000), &mut Unobserved));
            *sum += (1..=nodes).map(|node| world.finished(node).unwrap().0 as f64 / 1e9).sum::<f64>();
        }
    }
    let [exact, pieces] = sums.map(|sum| sum / f64::from(nodes) / f64::from(seeds as u32));
    assert!((pieces / exact - 1.0).abs() < 0.06, "{nodes} nodes: {pieces:.4} s, exactly {exact:.4} s");
}
