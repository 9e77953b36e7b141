//! What was heard from and said to each machine lately. Pure and bounded: machines, entries of each, and bytes of all.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::UnixTime;

/// Most entries of one machine: some five boots.
const ENTRIES_MAX: usize = 96;
/// Most machines; the one that was silent for longest is forgotten first.
const MACHINES_MAX: usize = 16_384;
/// Most bytes of all entries.
const BYTES_MAX: usize = 48 * 1024 * 1024;
/// Longest packet that is kept whole. Bytes.
const PACKET_MAX: usize = 1500;

/// What one entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// A DHCP packet from the machine: its UDP payload without the zeros at its end.
    Heard(#[serde(with = "base64")] Vec<u8>),
    /// A DHCP packet to the machine.
    Said(#[serde(with = "base64")] Vec<u8>),
    /// What was decided, and why.
    Note(String),
    /// A boot service answered it: phase and detail.
    Step(String, String),
}

/// Bytes as text in JSON.
mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(deserializer)?.as_bytes()).map_err(de::Error::custom)
    }
}

impl Entry {
    fn len(&self) -> usize {
        64 + match self {
            Self::Heard(bytes) | Self::Said(bytes) => bytes.len(),
            Self::Note(text) => text.len(),
            Self::Step(phase, text) => phase.len() + text.len(),
        }
    }
}

/// One entry with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// When.
    pub at: UnixTime,
    /// Interface of the head, where it is known.
    pub link: Option<String>,
    /// What.
    pub entry: Entry,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Traced>,
    used: u64,
}

/// The rings of all machines.
#[derive(Debug, Default)]
pub struct Rings {
    rings: BTreeMap<Mac, Ring>,
    /// By last use.
    order: BTreeMap<u64, Mac>,
    clock: u64,
    bytes: usize,
}

impl Rings {
    /// Adds an entry of this machine.
    pub fn add(&mut self, mac: Mac, at: UnixTime, link: Option<&str>, mut entry: Entry) {
        if let Entry::Heard(bytes) | Entry::Said(bytes) = &mut entry {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(end.min(PACKET_MAX));
            bytes.shrink_to_fit();
        }
        self.clock += 1;
        let ring = self.rings.entry(mac).or_default();
        self.order.remove(&ring.used);
        ring.used = self.clock;
        self.order.insert(self.clock, mac);
        self.bytes += entry.len();
        ring.entries.push_back(Traced { at, link: link.map(str::to_owned), entry });
        if ring.entries.len() > ENTRIES_MAX
            && let Some(gone) = ring.entries.pop_front()
        {
            self.bytes -= gone.entry.len();
        }
        while self.rings.len() > MACHINES_MAX || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            let gone = self.rings.remove(&oldest).unwrap_or_default();
            self.bytes -= gone.entries.iter().map(|traced| traced.entry.len()).sum::<usize>();
        }
    }

    /// What is known of this machine, the oldest first.
    pub fn of(&self, mac: Mac) -> Vec<Traced> {
        self.rings.get(&mac).map(|ring| ring.entries.iter().cloned().collect()).unwrap_or_default()
    }

    /// All machines that something is known of, with the time of the last entry.
    pub fn machines(&self) -> Vec<(Mac, UnixTime)> {
        let last = |ring: &Ring| ring.entries.back().map(|traced| traced.at);
        self.rings.iter().filter_map(|(mac, ring)| Some((*mac, last(ring)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    #[test]
    fn entries_machines_and_bytes_are_bounded_and_the_silent_are_forgotten_first() {
        let mut rings = Rings::default();
        for number in 0..200_u32 {
            rings.add(mac(1), UnixTime(number.into()), None, Entry::Note(number.to_string()));
        }
        let kept = rings.of(mac(1));
        assert_eq!((kept.len(), kept[0].at, kept[95].at), (96, UnixTime(104), UnixTime(199)));
        for number in 2..20_000 {
            rings.add(mac(number), UnixTime(300), Some("eth0"), Entry::Heard(vec![7; 1500]));
        }
        assert!(rings.of(mac(1)).is_empty());
        assert_eq!(rings.of(mac(19_999)).len(), 1);
        assert!(rings.machines().len() == MACHINES_MAX && rings.bytes <= BYTES_MAX);
        for number in 0..40_000 {
            rings.add(mac(number % 900), UnixTime(400), None, Entry::Said(vec![7; 1500]));
        }
        let all: usize = rings.rings.values().flat_map(|ring| &ring.entries).map(|traced| traced.entry.len()).sum();
        assert!(rings.bytes == all && all <= BYTES_MAX, "{all}");
        assert_eq!(rings.order.len(), rings.rings.len());
    }

    #[test]
    fn the_padding_of_packets_is_not_kept() {
        let mut rings = Rings::default();
        rings.add(mac(1), UnixTime(0), None, Entry::Heard([&[1, 0, 2][..], &[0; 400]].concat()));
        assert_eq!(rings.of(mac(1))[0].entry, Entry::Heard(vec![1, 0, 2]));
    }
}
