//! The list of machines that wait. Pure: the time is handed in, what has to be stored is handed out.
//!
//! Its bounds: one entry for each MAC address, each proven by a token that the boot services gave to that address; at most
//! [`PENDING_MAX`]. A machine that is heard is never pushed out: where the list is full, whoever was silent longest goes, and if
//! nobody was silent for long, newcomers wait.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use wulfpack_shared::id::{BootId, Hash, Mac, PublicKey};
use wulfpack_shared::limits::PENDING_MAX;
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::Inventory;

use crate::store::PendingMachine;

/// A machine that was not heard for so long may be pushed out by a new one.
const SILENT: Duration = Duration::from_secs(600);
/// One that was not heard for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
/// A machine tells no more often than this.
const TELL_PAUSE: Duration = Duration::from_millis(500);
/// How exactly the store has to know when a machine was last heard.
const HEARD_STEP: Duration = Duration::from_secs(300);
/// New machines at a time, and in a second after that.
const BURST: u64 = 256;
const RATE: u64 = 50;

/// What a machine told, with what its token says.
#[derive(Clone, Debug)]
pub struct Told {
    /// The interface that it booted from.
    pub mac: Mac,
    /// The key of its agent.
    pub key: PublicKey,
    /// This life of its agent.
    pub boot: BootId,
    /// The address that it speaks from.
    pub from: IpAddr,
    /// Whether its network demands no administrator's word.
    pub trusted: bool,
    /// What it runs.
    pub runs: Hash,
    /// Version of the agent program.
    pub agent: String,
    /// What it is.
    pub inventory: Inventory,
    /// Whether that is all.
    pub complete: bool,
}

/// Why a machine is not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PendingError {
    /// It tells too often, or too many come at once.
    #[error("too many machines tell the head what they are; this one is heard later")]
    Busy,
    /// Every place is taken by a machine that waits.
    #[error(
        "{PENDING_MAX} machines wait to be adopted, the list is full; \"wulf discover list\" on the head shows them"
    )]
    Full,
    /// The entry is that of another key.
    #[error("this machine was started again meanwhile, or another one shows its MAC address")]
    OtherKey,
    /// It never told what it is, or too long ago.
    #[error("the head does not know this machine")]
    Unknown,
}

/// The list.
#[derive(Debug)]
pub struct Pending {
    machines: BTreeMap<Mac, PendingMachine>,
    /// What the store has of each.
    stored: BTreeMap<Mac, UnixTime>,
    /// New machines that may still come, in thousandths, and since when.
    credit: u64,
    since: UnixTime,
    /// Most machines.
    places: usize,
}

impl Pending {
    /// The list that is stored.
    pub fn new(machines: impl IntoIterator<Item = PendingMachine>) -> Self {
        let machines: BTreeMap<_, _> = machines.into_iter().map(|machine| (machine.mac, machine)).collect();
        let stored = machines.values().map(|machine| (machine.mac, machine.heard)).collect();
        Self { machines, stored, credit: BURST * 1000, since: UnixTime(0), places: PENDING_MAX }
    }

    /// All machines, by MAC address.
    pub fn machines(&self) -> impl Iterator<Item = &PendingMachine> {
        self.machines.values()
    }

    /// The machine with this MAC address.
    pub fn get(&self, mac: Mac) -> Option<&PendingMachine> {
        self.machines.get(&mac)
    }

    /// A machine tells what it is. Its record, to be stored, and who had to go for it.
    pub fn tell(&mut self, now: UnixTime, told: Told) -> Result<(PendingMachine, Option<Mac>), PendingError> {
        let before = self.machines.get(&told.mac);
        let same = before.filter(|before| before.key == told.key);
        if same.is_some_and(|same| same.complete == told.complete && now.distance(same.heard) < TELL_PAUSE) {
            return Err(PendingError::Busy);
        }
        let first = before.map_or(now, |before| before.first);
        let (contested, note) = same.map_or((false, String::new()), |same| (same.contested, same.note.clone()));
        let gone = if before.is_none() { self.make_room(now)? } else { None };
        let Told { mac, key, boot, from, trusted, runs, agent, mut inventory, complete } = told;
        inventory.tidy();
        let machine = PendingMachine {
            mac,
            key,
            boot,
            from,
            trusted,
            runs,
            agent: wulfpack_shared::wire::printable(&agent),
            inventory,
            complete,
            contested,
            first,
            heard: now,
            note,
        };
        self.stored.insert(mac, now);
        self.machines.insert(mac, machine.clone());
        Ok((machine, gone))
    }

    /// A place for a new machine; who gives it up, if somebody has to.
    fn make_room(&mut self, now: UnixTime) -> Result<Option<Mac>, PendingError> {
        let passed = u64::try_from(now.distance(self.since).as_millis()).unwrap_or(u64::MAX);
        if now > self.since {
            self.credit = self.credit.saturating_add(passed.saturating_mul(RATE)).min(BURST * 1000);
            self.since = now;
        }
        if self.credit < 1000 {
            return Err(PendingError::Busy);
        }
        let gone = if self.machines.len() < self.places {
            None
        } else {
            let silent = self.machines.values().filter(|machine| now.distance(machine.heard) > SILENT);
            let longest = silent.min_by_key(|machine| machine.heard).map(|machine| machine.mac);
            Some(longest.ok_or(PendingError::Full)?)
        };
        self.credit -= 1000;
        if let Some(gone) = gone {
            self.remove(gone);
        }
        Ok(gone)
    }

    /// A machine waits for what becomes of it. Its record where that has to be stored again.
    pub fn heard(&mut self, now: UnixTime, mac: Mac, key: PublicKey) -> Result<Option<PendingMachine>, PendingError> {
        let machine = self.machines.get_mut(&mac).ok_or(PendingError::Unknown)?;
        if machine.key != key {
            return Err(PendingError::OtherKey);
        }
        machine.heard = now;
        let stored = self.stored.get(&mac).is_some_and(|stored| now.distance(*stored) < HEARD_STEP);
        if stored {
            return Ok(None);
        }
        self.stored.insert(mac, now);
        Ok(Some(machine.clone()))
    }

    /// Somebody else showed the machine's token. Its record, to be stored.
    pub fn contest(&mut self, mac: Mac) -> Option<PendingMachine> {
        let machine = self.machines.get_mut(&mac).filter(|machine| !machine.contested)?;
        machine.contested = true;
        Some(machine.clone())
    }

    /// Why a machine has not become a node by itself. Its record, to be stored, where that is news.
    pub fn note(&mut self, mac: Mac, note: &str) -> Option<PendingMachine> {
        let machine = self.machines.get_mut(&mac).filter(|machine| machine.note != note)?;
        note.clone_into(&mut machine.note);
        Some(machine.clone())
    }

    /// Forgets a machine; whether it was there.
    pub fn remove(&mut self, mac: Mac) -> bool {
        self.stored.remove(&mac);
        self.machines.remove(&mac).is_some()
    }

    /// Forgets who was not heard for a day; they are returned.
    pub fn expire(&mut self, now: UnixTime) -> Vec<Mac> {
        let old = self.machines.values().filter(|machine| now > machine.heard + FORGOTTEN).map(|machine| machine.mac);
        let old: Vec<Mac> = old.collect();
        for mac in &old {
            self.remove(*mac);
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: usize) -> Mac {
        let [.., a, b, c] = number.to_be_bytes();
        Mac([2, 0, 0, a, b, c])
    }

    fn told(number: usize, key: u8) -> Told {
        Told {
            mac: mac(number),
            key: PublicKey([key; 32]),
            boot: BootId([key; 16]),
            from: IpAddr::from([10, 0, 0, 1]),
            trusted: true,
            runs: Hash::default(),
            agent: String::new(),
            inventory: Inventory::default(),
            complete: false,
        }
    }

    fn at(seconds: usize) -> UnixTime {
        UnixTime::from_secs(1_000_000 + seconds as u64)
    }

    /// A list with every place taken, at 10 a second; the time when it is.
    fn full() -> (Pending, usize) {
        let mut pending = Pending::new([]);
        for number in 0..PENDING_MAX {
            pending.tell(at(number / 10), told(number, 1)).unwrap();
        }
        (pending, PENDING_MAX / 10)
    }

    #[test]
    fn who_floods_the_list_pushes_nobody_out_that_is_heard() {
        let (mut pending, end) = full();
        assert_eq!(pending.tell(at(end), told(PENDING_MAX, 1)).unwrap_err(), PendingError::Full);
        for number in 0..PENDING_MAX {
            pending.heard(at(end + 500), mac(number), PublicKey([1; 32])).unwrap();
        }
        for flood in 0..1000 {
            assert!(pending.tell(at(end + 1000), told(PENDING_MAX + flood, 9)).is_err());
        }
        assert_eq!(pending.machines().count(), PENDING_MAX);
        // One was switched off.
        for number in 1..PENDING_MAX {
            pending.heard(at(end + 1000), mac(number), PublicKey([1; 32])).unwrap();
        }
        let (_, gone) = pending.tell(at(end + 1200), told(PENDING_MAX, 2)).unwrap();
        assert_eq!(gone, Some(mac(0)));
        assert_eq!(pending.machines().count(), PENDING_MAX);
    }

    #[test]
    fn machines_come_at_a_bounded_rate() {
        let mut pending = Pending::new([]);
        let come = |pending: &mut Pending, second, from| {
            (from..from + 1000).filter(|number| pending.tell(at(second), told(*number, 1)).is_ok()).count() as u64
        };
        assert_eq!(come(&mut pending, 0, 0), BURST);
        assert_eq!(come(&mut pending, 1, 1000), RATE);
        assert_eq!(come(&mut pending, 1, 2000), 0);
        assert!(pending.tell(at(1), told(0, 1)).is_ok(), "who is on the list is no newcomer");
    }

    #[test]
    fn a_machine_that_boots_again_keeps_its_place_and_its_old_key_is_nobody() {
        let mut pending = Pending::new([]);
        pending.tell(at(0), told(1, 1)).unwrap();
        pending.contest(mac(1)).unwrap();
        let (machine, _) = pending.tell(at(60), told(1, 2)).unwrap();
        assert_eq!((machine.first, machine.heard, machine.contested), (at(0), at(60), false));
        assert_eq!(pending.heard(at(61), mac(1), PublicKey([1; 32])).unwrap_err(), PendingError::OtherKey);
        assert_eq!(pending.heard(at(61), mac(2), PublicKey([1; 32])).unwrap_err(), PendingError::Unknown);
        assert_eq!(pending.heard(at(61), mac(1), PublicKey([2; 32])).unwrap(), None);
        let stored = pending.heard(at(400), mac(1), PublicKey([2; 32])).unwrap().unwrap();
        assert_eq!(stored.heard, at(400), "from time to time the store is told");
        let again = Pending::new([stored]);
        assert_eq!(again.get(mac(1)).unwrap().first, at(0));
        assert_eq!(pending.expire(at(400 + 86_400)), []);
        assert_eq!(pending.expire(at(401 + 86_400)), [mac(1)]);
    }

    proptest::proptest! {
        /// Whatever comes in whatever order: the list stays within its places, nobody is pushed out that was heard in the last ten
        /// minutes, and only the key that told last is heard.
        #[test]
        fn no_order_of_words_pushes_out_who_is_heard(words in proptest::collection::vec((0..4u8, 0..12usize, 0..3u8, 0..900usize), 1..200)) {
            let mut pending = Pending { places: 5, ..Pending::new([]) };
            let (mut seconds, mut last) = (0, BTreeMap::<Mac, (UnixTime, PublicKey)>::new());
            for (what, number, key, pause) in words {
                seconds += pause;
                let (now, mac, shown) = (at(seconds), mac(number), PublicKey([key; 32]));
                match what {
                    0 | 1 => if let Ok((machine, gone)) = pending.tell(now, told(number, key)) {
                        proptest::prop_assert_eq!((machine.mac, machine.key, machine.heard), (mac, shown, now));
                        if let Some(gone) = gone {
                            let (heard, _) = last.remove(&gone).unwrap();
                            proptest::prop_assert!(now.distance(heard) > SILENT);
                        }
                        last.insert(mac, (now, shown));
                    },
                    2 => match (pending.heard(now, mac, shown), last.get_mut(&mac)) {
                        (Ok(_), Some((heard, owner))) if *owner == shown => *heard = now,
                        (Err(PendingError::OtherKey), Some((_, owner))) if *owner != shown => {}
                        (Err(PendingError::Unknown), None) => {}
                        other => proptest::prop_assert!(false, "{other:?}"),
                    },
                    _ => for gone in pending.expire(now) {
                        let (heard, _) = last.remove(&gone).unwrap();
                        proptest::prop_assert!(now.distance(heard) > FORGOTTEN);
                    },
                }
                let listed: Vec<Mac> = pending.machines().map(|machine| machine.mac).collect();
                proptest::prop_assert!(listed.len() <= 5);
                proptest::prop_assert_eq!(listed, last.keys().copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_machine_that_tells_without_end_is_slowed_down() {
        let mut pending = Pending::new([]);
        pending.tell(at(0), told(1, 1)).unwrap();
        assert_eq!(pending.tell(at(0), told(1, 1)).unwrap_err(), PendingError::Busy);
        let complete = Told { complete: true, ..told(1, 1) };
        assert!(pending.tell(at(0), complete).is_ok(), "what it heard from its switch is news");
        assert!(pending.tell(at(1), told(1, 1)).is_ok());
    }
}
