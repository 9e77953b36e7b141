//! Storms small enough for every run.

use super::{Storm, run};

const STORM: Storm = Storm {
    machines: 300,
    rate: 1e9,
    nbp: 200_000,
    files: 28 << 20,
    agent: 4 << 20,
    wave: 0,
    neighbours: false,
    rack: 40,
    up_s: 20,
    seed: 7,
};

#[test]
fn nobody_runs_out_of_retries_and_the_same_seed_gives_the_same_storm() {
    let first = run(STORM);
    assert_eq!((first.booted, first.lost), (300, 0), "{first:?}");
    assert_eq!(run(STORM), first);
    // What has to go through the link takes its time.
    let bound = 300.0 * f64::from(28 << 20) * 8.0 / 1e9;
    assert!(first.last_s > bound && first.last_s < bound * 1.2 + 10.0, "{first:?} {bound}");
}

#[test]
fn with_waves_the_first_are_up_early_and_the_last_not_much_later() {
    let (open, waves) = (run(STORM), run(Storm { wave: 30, ..STORM }));
    assert_eq!(waves.lost, 0, "{waves:?}");
    assert!(waves.first_s * 3.0 < open.first_s, "{waves:?} {open:?}");
    assert!(waves.last_s < open.last_s * 2.0, "{waves:?} {open:?}");
}

#[test]
fn neighbours_take_a_good_part_of_the_work_from_the_head() {
    let waves = run(Storm { wave: 30, ..STORM });
    let given = run(Storm { wave: 30, neighbours: true, ..STORM });
    assert_eq!((given.booted, given.lost), (300, 0), "{given:?}");
    assert!(given.last_s < waves.last_s * 0.8 && given.head_bytes < waves.head_bytes * 4 / 5, "{given:?} {waves:?}");
    // All begin at once: nobody is up who could give anything.
    let all = run(Storm { neighbours: true, ..STORM });
    assert_eq!(all, run(STORM));
}
