//! Plans against closed forms.

use core::time::Duration;

use wulfpack_shared::sim::Unobserved;
use wulfpack_shared::time::Mono;

use super::*;

struct Nobody;

impl Watch for Nobody {
    fn progress(&self, _done: u64, _total: u64, _now: Mono) {}
}

/// 64 MiB at 1 Gbit/s: F/C = 0.537 s.
fn setup(nodes: u32) -> Setup {
    Setup {
        nodes,
        image: Size(64 << 20),
        chunk: None,
        nic: Rate(1_000_000_000),
        head_nic: Rate(1_000_000_000),
        heads: 1,
        racks: 0,
        oversubscription: 1.0,
        latency: Duration::from_micros(100),
        stagger: Duration::ZERO,
        cpu: None,
        slow: None,
        fail: vec![],
        noticed: Duration::from_secs(2),
        boot: Size(32 << 20),
        seed: 1,
    }
}

fn figures(setup: &Setup) -> Figures {
    run(setup, true, &mut Unobserved, &Nobody).unwrap()
}

const TRANSFER: f64 = (64 << 20) as f64 * 8.0 / 1e9;

#[test]
fn one_server_needs_n_copies_and_no_less_than_one_link() {
    let plan = figures(&setup(8));
    assert!((plan.single_server_s - 8.0 * TRANSFER).abs() < 1e-6, "N F / Us");
    let http = plan.http.unwrap();
    assert!((http.t_last_s - 8.0 * TRANSFER).abs() < 1e-6 && http.head_egress_copies == 8.0);
    let fast = figures(&Setup { head_nic: Rate(100_000_000_000), ..setup(8) });
    assert!((fast.single_server_s - TRANSFER).abs() < 1e-6, "F / C, however fast the server");
    let racks = figures(&Setup { racks: 2, oversubscription: 16.0, head_nic: Rate(100_000_000_000), ..setup(8) });
    assert!((racks.http.unwrap().t_last_s - 16.0 * TRANSFER).abs() < 1e-6, "four nodes behind a quarter of a link");
    assert!(
        (plan.boot.t_s - 4.0 * TRANSFER).abs() < 1e-6 && plan.boot.head_copies == 4.0,
        "kernel and initramfs leave N times"
    );
}

#[test]
fn one_node_takes_the_image_at_its_links_rate() {
    let plan = figures(&setup(1));
    let ratio = plan.ratio.unwrap();
    assert!((1.0..1.04).contains(&ratio), "{ratio}");
    assert_eq!((plan.completed, plan.expected, plan.t_first_s), (1, 1, plan.t_last_s));
    assert!((plan.head_egress_copies - 1.0).abs() < 0.01);
}

#[test]
fn two_nodes_share_the_heads_link_and_are_as_fast_as_one() {
    let plan = figures(&setup(2));
    assert!((1.0..1.1).contains(&plan.ratio.unwrap()), "{plan:?}");
    assert!(plan.head_egress_copies < 1.05, "{plan:?}");
}

#[test]
fn one_rack_behind_a_narrow_link_takes_one_copy_through_it() {
    // Four nodes behind a link of a quarter of a node's: at least F / (C / 4) for the one copy that must come in.
    let plan = figures(&Setup { racks: 1, oversubscription: 16.0, ..setup(4) });
    let least = 4.0 * TRANSFER;
    let last = plan.t_last_s.unwrap();
    assert!((least..least * 1.1).contains(&last), "{last} against {least}");
    assert!((plan.cross_rack_fraction - 0.25).abs() < 0.02, "one copy in for four nodes: {plan:?}");
}

#[test]
fn the_same_seed_gives_the_same_figures_and_another_seed_others() {
    let one = figures(&setup(12));
    assert_eq!(one, figures(&setup(12)));
    assert_ne!(one.events, figures(&Setup { seed: 2, ..setup(12) }).events);
}

#[test]
fn what_fails_fails_and_the_rest_completes() {
    let fail = vec!["25%@50%".parse().unwrap(), "head@covered".parse().unwrap(), "tracker@10ms".parse().unwrap()];
    let plan = figures(&Setup { fail, ..setup(8) });
    assert_eq!((plan.completed, plan.expected, plan.nodes), (6, 6, 8), "{plan:?}");
    assert!(plan.covered_s.is_some() && plan.is_sound());
    let slow = figures(&Setup { slow: Some("25%@10%".parse().unwrap()), ..setup(8) });
    assert_eq!((slow.completed, slow.expected), (6, 6), "the slow are not waited for");
}

#[test]
fn senseless_plans_are_refused() {
    for wrong in [
        Setup { nodes: 0, ..setup(1) },
        Setup { racks: 3, ..setup(2) },
        Setup { oversubscription: 0.0, ..setup(2) },
        Setup { image: Size(1 << 50), ..setup(2) },
    ] {
        assert!(run(&wrong, false, &mut Unobserved, &Nobody).is_err());
    }
}
