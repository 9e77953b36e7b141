//! How long a run may take, and how long to leave a peer alone that failed.

use core::time::Duration;

use super::Config;
use crate::time::Mono;

const MAX_RUN: Duration = Duration::from_secs(60);

/// How many runs are timed before the times count.
const LEARNING: u32 = 16;
/// So many runs in a row may miss their deadlines because their peers are dead.
const DOUBTS_FREE: u32 = 2;
/// No deadline is doubled more often than this while runs miss theirs.
const DOUBTS_MAX: u32 = DOUBTS_FREE + 6;

/// The moving average of this member's own run times, and how far they deviate from it (as RFC 6298 does for round trips).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    average: Duration,
    deviation: Duration,
    /// Runs timed, up to [`LEARNING`].
    samples: u32,
    /// Deadlines missed since the last run ended.
    doubts: u32,
}

impl Pace {
    /// A run of `bytes` took `took`; counted as if it had been a whole run of `run_len`.
    pub(super) fn sample(&mut self, took: Duration, bytes: u64, run_len: u64) {
        let nanos = took.min(MAX_RUN).as_nanos() * u128::from(run_len.max(1)) / u128::from(bytes.max(1));
        let whole = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(MAX_RUN);
        self.doubts = 0;
        self.samples = (self.samples + 1).min(LEARNING);
        if self.average.is_zero() {
            (self.average, self.deviation) = (whole, whole / 2);
            return;
        }
        self.deviation = (self.deviation * 3 + self.average.abs_diff(whole)) / 4;
        self.average = (self.average * 7 + whole) / 8;
    }

    /// A run missed its deadline: if all links became slow, no run would end in time and the average never learn of it.
    pub(super) fn missed(&mut self) {
        self.doubts = (self.doubts + 1).min(DOUBTS_MAX);
    }

    /// Time of one run; zero before the first.
    pub(super) const fn run(&self) -> Duration {
        self.average
    }

    /// What `times` runs in one hardly ever take longer than.
    pub(super) fn longest(&self, config: &Config, times: u32) -> Duration {
        // Where all take alike for long, one that has to share its way with twice as many is no longer like them.
        (self.average + (self.deviation * 4).max(self.average * 2)) * times + config.rtt * 4
    }

    /// From when `times` runs in one begin to be sent until they are overdue: their average time and four deviations, doubled
    /// for each but the first two that were missed since the last one ended.
    pub(super) fn deadline(&self, config: &Config, times: u32) -> Duration {
        let least = if self.samples < LEARNING {
            config.deadline_floor.max(config.silence_floor) // nobody knows yet how long a run takes beside others
        } else {
            config.deadline_floor
        };
        // One run more than asked for: a short one may share its way with others that are long.
        let usual = self.longest(config, times.saturating_add(1));
        let doublings = self.doubts.saturating_sub(DOUBTS_FREE);
        (usual.max(least) * (1 << doublings)).min(MAX_RUN.max(usual))
    }
}

/// Waits of 1 s, doubling; never for ever.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    until: Mono,
    step: u32,
}

impl Backoff {
    const MOST: u32 = 6; // 64 s

    /// A failure: wait `first` doubled for each failure before.
    pub(super) fn failed(&mut self, now: Mono, first: Duration) {
        self.failed_up_to(now, first, Self::MOST);
    }

    /// A failure of something that is worth more frequent trying: at most `first` doubled `most` times.
    pub(super) fn failed_up_to(&mut self, now: Mono, first: Duration, most: u32) {
        self.step = self.step.min(most);
        self.until = now + first * (1 << self.step);
        self.step = (self.step + 1).min(Self::MOST);
    }

    /// Not a failure, but there is no point in asking sooner.
    pub(super) fn pause(&mut self, now: Mono, wait: Duration) {
        self.until = self.until.max(now + wait);
    }

    /// A success: the next failure waits `first` again.
    pub(super) const fn worked(&mut self) {
        self.step = 0;
    }

    /// When the wait is over.
    pub(super) const fn until(&self) -> Mono {
        self.until
    }

    /// Whether the wait is over.
    pub(super) const fn is_over(&self, now: Mono) -> bool {
        self.until.0 <= now.0
    }
}

/// The first wait after a failure.
pub(super) const FIRST_BACKOFF: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_follows_the_run_time_above_its_floor() {
        let config =
            Config { deadline_floor: Duration::from_millis(100), rtt: Duration::from_millis(1), ..Config::node() };
        let mut pace = Pace::default();
        assert_eq!(pace.deadline(&config, 1), Duration::from_secs(1), "before the first run");
        pace.sample(Duration::from_millis(1), 1 << 20, 1 << 20);
        assert_eq!(pace.deadline(&config, 1), Duration::from_secs(1), "one says little");
        (0..LEARNING).for_each(|_| pace.sample(Duration::from_millis(1), 1 << 20, 1 << 20));
        assert_eq!(pace.deadline(&config, 1), Duration::from_millis(100));
        pace = Pace::default();
        for _ in 0..64 {
            pace.sample(Duration::from_millis(100), 1 << 19, 1 << 20); // half a run
        }
        assert_eq!(pace.deadline(&config, 1).as_millis(), 1204, "all alike");
        assert_eq!(pace.deadline(&config, 3).as_millis(), 2404);
        for half in [50, 150].repeat(32) {
            pace.sample(Duration::from_millis(half), 1 << 19, 1 << 20);
        }
        assert!((1000..1700).contains(&pace.deadline(&config, 1).as_millis()), "{:?}", pace.deadline(&config, 1));
        let before = pace.deadline(&config, 1);
        (0..2).for_each(|_| pace.missed());
        assert_eq!(pace.deadline(&config, 1), before);
        pace.missed();
        assert_eq!(pace.deadline(&config, 1), before * 2);
        pace.sample(Duration::from_millis(100), 1 << 19, 1 << 20);
        assert!(pace.deadline(&config, 1) < before, "a run has ended");
        pace.sample(Duration::MAX, 0, u64::MAX); // hostile values
        (0..99).for_each(|_| pace.missed());
        assert!(pace.run() <= MAX_RUN && pace.deadline(&config, 1) <= MAX_RUN * 5);
    }

    #[test]
    fn backoff_doubles_ends_and_forgets() {
        let (mut backoff, mut now) = (Backoff::default(), Mono::ZERO);
        assert!(backoff.is_over(now));
        for wait in [1, 2, 4, 8, 16, 32, 64, 64] {
            backoff.failed(now, FIRST_BACKOFF);
            assert!(!backoff.is_over(now + Duration::from_millis(wait * 1000 - 1)));
            now = now + Duration::from_secs(wait);
            assert!(backoff.is_over(now));
        }
        backoff.worked();
        backoff.failed(now, FIRST_BACKOFF);
        assert!(backoff.is_over(now + FIRST_BACKOFF));
    }
}
