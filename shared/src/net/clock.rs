//! The machine's clocks, as the pure parts know them.

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Mono, Now, UnixTime};

/// Cluster time: what certificates are checked against, shared by everything in a process.
///
/// On a head it is the system clock. On a member it is the head's signed time at join plus the monotonic time since: a node's
/// own clock may be years off, or be stepped while the process runs.
#[derive(Clone, Debug, Default)]
pub struct ClusterClock(Arc<Mutex<Option<(Instant, UnixTime)>>>);

impl ClusterClock {
    /// The system's time of day, until [`Self::set`] is called.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows `time` now.
    pub fn at(time: UnixTime) -> Self {
        let clock = Self::default();
        clock.set(time);
        clock
    }

    /// From now on it shows `time` plus what elapses.
    pub fn set(&self, time: UnixTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), time));
    }

    /// The time of the cluster now.
    pub fn now(&self) -> UnixTime {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((then, time)) => time + then.elapsed(),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

/// The origin of [`Mono`] in this process.
#[derive(Clone, Copy, Debug)]
pub struct MonoClock(Instant);

impl MonoClock {
    /// [`Mono::ZERO`] is now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The monotonic time now.
    pub fn now(&self) -> Mono {
        self.of(Instant::now())
    }

    /// Now, with the time of day of the cluster.
    pub fn stamp(&self, clock: &ClusterClock) -> Now {
        Now { mono: self.now(), wall: Some(clock.now()) }
    }

    /// The monotonic time of `instant`; zero if it lies before the start.
    pub fn of(&self, instant: Instant) -> Mono {
        Mono::ZERO + instant.saturating_duration_since(self.0)
    }

    /// The instant of a monotonic time. Times beyond what the machine's clock can express count as a day from the start.
    pub fn instant(&self, mono: Mono) -> Instant {
        let day = Duration::from_secs(86_400);
        self.0.checked_add(Duration::from_nanos(mono.0)).unwrap_or(self.0 + day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_time_follows_what_it_was_set_to() {
        let clock = ClusterClock::at(UnixTime::from_secs(1_000));
        let same = clock.clone();
        assert!(same.now() >= UnixTime::from_secs(1_000));
        clock.set(UnixTime::from_secs(2_000));
        assert!(same.now() >= UnixTime::from_secs(2_000), "clones share one clock");
        assert!(ClusterClock::system().now() > UnixTime::from_secs(1_600_000_000));
    }

    #[test]
    fn mono_and_instant_convert_both_ways() {
        let clock = MonoClock::start();
        let later = Instant::now() + Duration::from_secs(5);
        assert_eq!(clock.instant(clock.of(later)), later);
        assert_eq!(clock.of(later - Duration::from_secs(500)), Mono::ZERO);
    }
}
