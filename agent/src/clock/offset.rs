//! Is the clock off?

use core::time::Duration;

use wulfpack_shared::time::UnixTime;

/// A clock that is further off than this is stepped before any certificate is checked.
pub const CLOCK_MAX_OFF: Duration = Duration::from_secs(60);

/// Milliseconds that `own` must be moved by to show `head`.
pub(super) fn offset_ms(head: UnixTime, own: UnixTime) -> i64 {
    let distance = i64::try_from(head.0.abs_diff(own.0)).unwrap_or(i64::MAX);
    if head >= own { distance } else { -distance }
}

/// Whether that is too much.
pub(super) fn is_off(offset_ms: i64, tolerance: Duration) -> bool {
    u128::from(offset_ms.unsigned_abs()) > tolerance.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_years_off_in_either_direction_is_off_and_one_within_the_tolerance_is_not() {
        let head = UnixTime::from_secs(1_700_000_000);
        for (own, offset) in [(978_307_200, 721_692_800_000), (3_786_912_000, -2_086_912_000_000)] {
            let found = offset_ms(head, UnixTime::from_secs(own));
            assert_eq!(found, offset);
            assert!(is_off(found, CLOCK_MAX_OFF));
        }
        for own in [1_699_999_940, 1_700_000_000, 1_700_000_060] {
            assert!(!is_off(offset_ms(head, UnixTime::from_secs(own)), CLOCK_MAX_OFF));
        }
        assert!(is_off(offset_ms(UnixTime(u64::MAX), UnixTime(0)), CLOCK_MAX_OFF));
    }
}
