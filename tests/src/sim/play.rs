//! Plays scenarios by seed, many at a time, and says what went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use wulfpack_head::plan::HeadTracker;
use wulfpack_shared::sim::{Tracker, World};

use super::{Checker, Scenario, Story};

/// Of so many seeds one is played twice: it must give the same trace.
const TWICE_EACH: u64 = 16;

/// Plays a scenario to the end: safety after every event, everybody complete by the deadline. What it came to, what was seen,
/// and what was wrong.
pub fn play<T: Tracker>(scenario: &Scenario, tracker: T) -> (World<T>, Checker, Option<String>) {
    let mut world = World::new(scenario.spec.clone(), tracker);
    let mut checker = Checker::new(&scenario.spec, &scenario.liars);
    let faults_over = scenario.faults.iter().map(|&(at, ..)| at).max().unwrap_or_default();
    for &(at, node, fault) in &scenario.faults {
        world.schedule(at, node, fault);
    }
    world.run_until(faults_over, &mut checker);
    let whole = world.run_to_completion(scenario.deadline, &mut checker);
    let findings = checker.findings();
    let cause = if !findings.is_empty() {
        Some(format!("not safe: {}", findings.join("; ")))
    } else if !whole {
        let units = scenario.spec.image.units.total();
        let left = world.unfinished().map(|node| {
            let held = world.engine(node).map(|engine| engine.held_count(wulfpack_shared::swarm::ImageIx(0)));
            format!("node {node} holds {} of {units}", held.unwrap_or(0))
        });
        Some(format!(
            "not complete by {:.1} s: {}",
            scenario.deadline.0 as f64 / 1e9,
            left.collect::<Vec<_>>().join(", ")
        ))
    } else {
        None
    };
    (world, checker, cause)
}

/// What is wrong with a seed, if anything is.
pub fn try_seed(seed: u64) -> Option<String> {
    let scenario = Scenario::new(Story::of(seed), seed);
    let once = || {
        let (world, _, cause) = play(&scenario, HeadTracker::new(scenario.spec.heads, 0));
        cause.map_or_else(|| Ok(world.trace()), Err)
    };
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let trace = once()?;
        if seed.is_multiple_of(TWICE_EACH) && once()? != trace {
            return Err("played twice, it gives two traces".to_owned());
        }
        Ok(())
    }));
    let cause = match tried {
        Ok(result) => result.err()?,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            format!("panics: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word"))
        }
    };
    Some(format!("{:?}: {cause}", Story::of(seed)))
}

/// Tries many seeds on all cores; those that fail, with their cause, in order. `each` is told of each one that is done.
pub fn try_seeds(seeds: core::ops::Range<u64>, each: impl Fn() + Sync) -> Vec<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(vec![]);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Some(cause) = try_seed(seed) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, cause));
                    }
                    each();
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_unstable();
    failed
}

/// Seeds that failed once, with their cause: lines of `SEED # CAUSE`. They are played in every run of the tests.
pub fn kept_seeds(text: &str) -> Vec<(u64, &str)> {
    let line = |line: &'_ str| -> Option<(u64, usize)> {
        let (seed, cause) = line.split_once('#')?;
        Some((seed.trim().parse().ok()?, line.len() - cause.len()))
    };
    text.lines().filter_map(|text| line(text).map(|(seed, at)| (seed, text[at..].trim()))).collect()
}
