//! How often one machine is answered: firmware asks a few times and waits longer each time; what asks without end is not firmware.

use wulfpack_shared::id::Mac;
use wulfpack_shared::time::Mono;

/// Packets in a row.
const BURST: u32 = 40;
/// Packets in a second after that.
const PER_SECOND: u64 = 8;
/// Machines that are counted; of two that share a place the one that asks now is.
const PLACES: usize = 16_384;

#[derive(Clone, Copy, Debug)]
struct Place {
    mac: Mac,
    left: u32,
    at: Mono,
    /// The exchange, and how often it was asked for.
    xid: u32,
    repeats: u8,
}

/// Counts what machines ask. Its size is fixed.
#[derive(Debug)]
pub(super) struct Rates {
    places: Box<[Place]>,
    seed: u64,
}

/// What the counter says of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Answer it. How often the same exchange was begun before.
    Fine(u8),
    /// Too many: do not answer. Whether it is the first such packet in a row.
    TooMany(bool),
}

impl Rates {
    pub(super) fn new(seed: u32) -> Self {
        Self {
            places: vec![Place { mac: Mac([0; 6]), left: 0, at: Mono::ZERO, xid: 0, repeats: 0 }; PLACES].into(),
            seed: u64::from(seed) | 1 << 40,
        }
    }

    /// Counts a packet of this machine.
    pub(super) fn count(&mut self, now: Mono, mac: Mac, xid: u32) -> Pace {
        let [a, b, c, d, e, f] = mac.0;
        let key = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        // Multiplicative hashing by a secret number, so that nobody can aim at another's place.
        let hash = (key ^ self.seed).wrapping_mul(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) >> 40;
        let Some(place) = self.places.get_mut(hash as usize % PLACES) else { return Pace::Fine(0) };
        if place.mac != mac {
            *place = Place { mac, left: BURST, at: now, xid, repeats: 0 };
        } else if place.xid != xid {
            (place.xid, place.repeats) = (xid, 0);
        } else {
            place.repeats = place.repeats.saturating_add(1);
        }
        let millis = u64::try_from(now.since(place.at).as_millis()).unwrap_or(u64::MAX);
        let earned = u32::try_from(millis.saturating_mul(PER_SECOND) / 1000).unwrap_or(u32::MAX);
        if earned > 0 {
            (place.left, place.at) = (place.left.saturating_add(earned).min(BURST), now);
        }
        let first = place.left == 1;
        match place.left.checked_sub(1) {
            Some(0) | None => {
                place.left = 0;
                Pace::TooMany(first)
            }
            Some(left) => {
                place.left = left;
                Pace::Fine(place.repeats)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_flood_is_cut_and_a_machine_that_calms_down_is_heard_again() {
        let mut rates = Rates::new(7);
        let fine = (0..200).filter(|xid| matches!(rates.count(Mono::ZERO, A, *xid), Pace::Fine(_))).count();
        assert_eq!(fine, BURST as usize - 1);
        assert_eq!(rates.count(Mono::ZERO, Mac([2, 0, 0, 0, 0, 2]), 1), Pace::Fine(0), "others are not cut");
        assert_eq!(rates.count(Mono::from_millis(10_000), A, 9), Pace::Fine(0));
    }

    #[test]
    fn repeats_of_one_exchange_are_counted() {
        let mut rates = Rates::new(7);
        let paces: Vec<Pace> = [5, 5, 5, 6].map(|xid| rates.count(Mono::ZERO, A, xid)).into();
        assert_eq!(paces, [0, 1, 2, 0].map(Pace::Fine));
    }
}
