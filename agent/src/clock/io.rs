//! The kernel's clock and its entropy pool.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use wulfpack_shared::time::UnixTime;

use super::offset::{is_off, offset_ms};

/// What was found and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The head's time less the clock's, in milliseconds, before the step.
    pub offset_ms: i64,
    /// The clock was set.
    pub stepped: bool,
}

/// Sets the system clock to `head` if it is further off than `tolerance` ([`super::CLOCK_MAX_OFF`]). The hardware's
/// clock stays as it is.
///
/// # Errors
/// clock_settime(2) is refused: not root, or a time before the kernel's own start.
pub fn step_if_off(head: UnixTime, tolerance: Duration) -> io::Result<Step> {
    let now = clock_gettime(ClockId::Realtime);
    let millis = i128::from(now.tv_sec) * 1000 + i128::from(now.tv_nsec) / 1_000_000;
    let offset_ms = offset_ms(head, UnixTime(u64::try_from(millis).unwrap_or(0)));
    let stepped = is_off(offset_ms, tolerance);
    if stepped {
        let tv_sec = i64::try_from(head.as_secs()).map_err(io::Error::other)?;
        let tv_nsec = i64::try_from(head.0 % 1000).map_err(io::Error::other)? * 1_000_000;
        clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec })?;
    }
    Ok(Step { offset_ms, stepped })
}

/// Mixes bytes into the kernel's pool; they are not counted as entropy (random(4)), so they can do no harm.
///
/// # Errors
/// /dev/urandom cannot be written.
pub fn mix_entropy(bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open("/dev/urandom")?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_right_is_left_alone() {
        let now = clock_gettime(ClockId::Realtime);
        let head = UnixTime::from_secs(u64::try_from(now.tv_sec).unwrap());
        let step = step_if_off(head, Duration::from_secs(3600)).unwrap();
        assert!(!step.stepped);
        mix_entropy(&[7; 32]).unwrap();
    }
}
