//! Runs a plan.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use wulfpack_shared::sim::{Fault, Observer, World};
use wulfpack_shared::time::Mono;

use super::fail::{Fail, When, Who};
use super::figures::Figures;
use super::setup::{Setup, pick};
use super::tracker::HeadTracker;

/// Events between two reports of progress.
const REPORT_EACH: u64 = 1 << 16;
/// A plan is given up after so many times the bound: something will never complete.
const PATIENCE: u32 = 20;
/// And after this much more: backoffs and the notice of deaths do not shrink with the image.
const SPARE: core::time::Duration = core::time::Duration::from_secs(140);

/// Told how far a run is.
pub trait Watch {
    /// Units that nodes hold, of all that they will; and the simulated time.
    fn progress(&self, done: u64, total: u64, now: Mono);
}

/// Why a plan was not run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It makes no sense.
    #[error("{0}")]
    Senseless(String),
}

impl Setup {
    fn check(&self) -> Result<(), PlanError> {
        let senseless = |text: String| Err(PlanError::Senseless(text));
        if self.nodes == 0 || self.heads == 0 {
            return senseless("a plan needs at least one node and one head".into());
        }
        if self.nodes > 100_000 || self.heads > 64 {
            return senseless("at most 100000 nodes and 64 heads can be simulated".into());
        }
        if u32::from(self.racks) > self.nodes {
            return senseless(format!("{} racks for {} nodes: some would be empty", self.racks, self.nodes));
        }
        if !(0.01..=10_000.0).contains(&self.oversubscription) {
            return senseless(format!("an oversubscription of {} to 1 is none", self.oversubscription));
        }
        if self.chunk.is_some_and(|chunk| chunk.0 < 4096 || chunk.0 > 4 << 20) {
            return senseless("chunks are 4 KiB to 4 MiB long".into());
        }
        let least = self.chunk.map_or(u64::from(wulfpack_shared::limits::CHUNK_AVG), |chunk| chunk.0);
        if self.image.0 / least >= u64::from(wulfpack_shared::limits::CHUNKS_MAX) {
            return senseless(format!("an image of {} has too many chunks of that size", self.image));
        }
        Ok(())
    }
}

/// Runs it to the end: every healthy node that lives is complete, or nothing will ever complete.
pub fn run(setup: &Setup, http: bool, observer: &mut impl Observer, watch: &impl Watch) -> Result<Figures, PlanError> {
    setup.check()?;
    let spec = setup.spec();
    let last_start = spec.members.iter().map(|member| member.start).max().unwrap_or_default();
    let until = last_start + spec.bound() * PATIENCE + SPARE;
    let total = u64::from(spec.image.units.total()) * u64::from(spec.nodes());
    let mut world = World::new(spec, HeadTracker::new(setup.heads, setup.rack_cap())).untraced();
    let mut waiting: Vec<(usize, Fail)> = setup.fail.iter().copied().enumerate().collect();
    waiting.retain(|&(index, fail)| {
        let at = match fail.when {
            When::After(span) => Mono::ZERO + span.0,
            When::Part(share) => Mono(share.of(u64::try_from(setup.transfer().as_nanos()).unwrap_or(u64::MAX))),
            When::Copies(_) | When::Covered => return true,
        };
        strike(setup, &mut world, index, fail, at);
        false
    });
    while !world.is_complete() && world.step(until, observer) {
        if !waiting.is_empty() {
            waiting.retain(|&(index, fail)| {
                let due = match fail.when {
                    When::Copies(hundredths) => world.head_egress() * 100 >= u64::from(hundredths) * setup.image.0,
                    _ => world.covered().is_some(),
                };
                if due {
                    let now = world.now();
                    strike(setup, &mut world, index, fail, now);
                }
                !due
            });
        }
        if world.events().is_multiple_of(REPORT_EACH) {
            watch.progress(world.units_held(), total, world.now());
        }
    }
    Ok(Figures::of(setup, &world, http))
}

/// Plans a failure for a time.
fn strike(setup: &Setup, world: &mut World<HeadTracker>, index: usize, fail: Fail, at: Mono) {
    match fail.who {
        Who::Head => (0..setup.heads).for_each(|head| world.schedule(at, head, Fault::Die)),
        Who::Tracker => world.schedule(at, 0, Fault::TrackerDead(true)),
        Who::Nodes(share) => {
            let mut rng = ChaCha8Rng::seed_from_u64(setup.seed ^ 0xdead ^ (index as u64) << 32);
            for node in pick(&mut rng, setup.nodes, share) {
                world.schedule(at, setup.heads + node, Fault::Die);
            }
        }
    }
}
