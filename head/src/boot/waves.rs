//! Waves: how many machines load kernel and initramfs at a time, where the administrator limits that. Pure.
//!
//! Machines that share one link all take as long as the slowest. With a limit the first are up early, and can give the image to
//! the others, while those wait at their boot script and ask again.

use core::time::Duration;
use std::collections::BTreeMap;

use wulfpack_shared::id::Mac;
use wulfpack_shared::time::Mono;

/// A machine that has not loaded everything after this long has no place any more: it may have been switched off.
const PLACE_TIME: Duration = Duration::from_secs(120);

/// Who loads now.
#[derive(Debug, Default)]
pub struct Waves {
    limit: usize,
    loading: BTreeMap<Mac, Mono>,
}

impl Waves {
    /// At most `limit` machines at a time; 0: no limit.
    pub fn new(limit: usize) -> Self {
        Self { limit, loading: BTreeMap::new() }
    }

    /// Whether this machine may load now. One that has a place keeps it when it asks again. Otherwise the number of machines that
    /// load before it.
    pub fn admit(&mut self, now: Mono, mac: Mac) -> Result<(), usize> {
        if self.limit == 0 {
            return Ok(());
        }
        if self.loading.len() >= self.limit {
            self.loading.retain(|_, since| now.since(*since) < PLACE_TIME);
        }
        if !self.loading.contains_key(&mac) && self.loading.len() >= self.limit {
            return Err(self.loading.len());
        }
        self.loading.insert(mac, now);
        Ok(())
    }

    /// This machine has everything.
    pub fn done(&mut self, mac: Mac) {
        self.loading.remove(&mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn places_are_given_kept_and_given_back() {
        let mut waves = Waves::new(2);
        let at = |seconds: u64| Mono::from_millis(seconds * 1000);
        assert_eq!((waves.admit(at(0), mac(1)), waves.admit(at(1), mac(2))), (Ok(()), Ok(())));
        assert_eq!(waves.admit(at(2), mac(3)), Err(2));
        assert_eq!(waves.admit(at(3), mac(1)), Ok(()), "its script was lost");
        waves.done(mac(2));
        assert_eq!(waves.admit(at(4), mac(3)), Ok(()));
        assert_eq!(waves.admit(at(122), mac(4)), Err(2));
        assert_eq!(waves.admit(at(124), mac(4)), Ok(()), "somebody never came back");
        let mut open = Waves::new(0);
        assert!((0..200).all(|last| open.admit(at(0), mac(last)).is_ok()));
    }
}
