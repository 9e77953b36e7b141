//! The simulator against closed forms.

use super::*;
use crate::swarm::Config;
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
