//! How long a run may take, and how long to leave a peer alone that failed.

use core::time::Duration;

use super::Config;
use crate::time::Mono;

const MAX_RUN: Duration = Duration::from_secs(60);

/// The moving average of this member's own run times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    average: Duration,
}

impl Pace {
    /// A run of `bytes` took `took`; counted as if it had been a whole run of `run_len`.
    pub(super) fn sample(&mut self, took: Duration, bytes: u64, run_len: u64) {
        let nanos = took.min(MAX_RUN).as_nanos() * u128::from(run_len.max(1)) / u128::from(bytes.max(1));
        let whole = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(MAX_RUN);
        self.average = if self.average.is_zero() { whole } else { (self.average * 7 + whole) / 8 };
    }

    /// A run missed its deadline: if all links became slow, no run would end in time and the average never learn of it.
    pub(super) fn missed(&mut self) {
        self.average = (self.average * 3 / 2).min(MAX_RUN);
    }

    /// Time of one run; zero before the first.
    pub(super) const fn run(&self) -> Duration {
        self.average
    }

    /// From when a run begins to be sent until it is overdue.
    pub(super) fn deadline(&self, config: &Config) -> Duration {
        if self.average.is_zero() {
            return config.deadline_floor.max(config.silence_floor); // nobody knows yet how long a run takes
        }
        (self.average * 3 + config.rtt * 4).max(config.deadline_floor)
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
        assert_eq!(pace.deadline(&config), Duration::from_secs(1), "before the first run");
        pace.sample(Duration::from_millis(1), 1 << 20, 1 << 20);
        assert_eq!(pace.deadline(&config), Duration::from_millis(100));
        pace = Pace::default();
        for _ in 0..64 {
            pace.sample(Duration::from_millis(100), 1 << 19, 1 << 20); // half a run
        }
        assert_eq!(pace.deadline(&config).as_millis(), 604);
        pace.missed();
        assert_eq!(pace.deadline(&config).as_millis(), 904);
        pace.sample(Duration::MAX, 0, u64::MAX); // hostile values
        assert!(pace.run() <= MAX_RUN);
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
