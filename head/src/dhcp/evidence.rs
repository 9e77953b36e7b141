//! Which address the DHCP server gave to which machine, and when: what a join token is given on (policy `dhcp`), and how the other
//! boot services know a machine by its address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wulfpack_shared::id::Mac;

/// Most machines that are remembered; the oldest is forgotten first.
const MACHINES_MAX: usize = 65_536;

/// A handle that all boot services share.
#[derive(Clone, Debug, Default)]
pub struct Evidence(Arc<Mutex<Exchanges>>);

#[derive(Debug, Default)]
struct Exchanges {
    by_address: BTreeMap<IpAddr, Exchange>,
    /// One address of each family.
    by_mac: BTreeMap<(Mac, bool), IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Exchange {
    mac: Mac,
    at: Instant,
    /// The last one with a boot loader. A running system that renews its address is not on its way to a boot.
    booted: Option<Instant>,
}

impl Evidence {
    fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        // Every change leaves the maps whole, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `mac` was given `address` at `at`; whether by the wish of a boot loader, `boots` says.
    pub fn given(&self, mac: Mac, address: impl Into<IpAddr>, boots: bool, at: Instant) {
        let address = address.into();
        let key = |mac| (mac, address.is_ipv6());
        let mut exchanges = self.exchanges();
        let before = exchanges.by_address.get(&address).filter(|exchange| exchange.mac == mac);
        let booted = if boots { Some(at) } else { before.and_then(|exchange| exchange.booted) };
        if let Some(before) = exchanges.by_mac.insert(key(mac), address).filter(|before| *before != address) {
            exchanges.by_address.remove(&before);
        }
        if let Some(other) =
            exchanges.by_address.insert(address, Exchange { mac, at, booted }).filter(|other| other.mac != mac)
        {
            exchanges.by_mac.remove(&key(other.mac));
        }
        if exchanges.by_address.len() > MACHINES_MAX {
            let oldest = exchanges.by_address.iter().min_by_key(|(_, exchange)| exchange.at).map(|(a, e)| (*a, e.mac));
            if let Some((address, mac)) = oldest {
                exchanges.by_address.remove(&address);
                exchanges.by_mac.remove(&(mac, address.is_ipv6()));
            }
        }
    }

    /// `mac` gave its IPv4 address back, or found it in use.
    pub fn released(&self, mac: Mac) {
        let mut exchanges = self.exchanges();
        if let Some(address) = exchanges.by_mac.remove(&(mac, false)) {
            exchanges.by_address.remove(&address);
        }
    }

    /// The machine that was last given this address.
    pub fn mac_of(&self, address: impl Into<IpAddr>) -> Option<Mac> {
        self.exchanges().by_address.get(&address.into()).map(|exchange| exchange.mac)
    }

    /// How long before `now` this address was given to a boot loader of this machine; `None` if it was not, or was given to
    /// another machine since.
    pub fn age(&self, mac: Mac, address: impl Into<IpAddr>, now: Instant) -> Option<Duration> {
        let exchanges = self.exchanges();
        let exchange = exchanges.by_address.get(&address.into()).filter(|exchange| exchange.mac == mac)?;
        exchange.booted.map(|booted| now.saturating_duration_since(booted))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn an_address_belongs_to_the_machine_that_was_given_it_last() {
        let (evidence, start) = (Evidence::default(), Instant::now());
        let (a, b) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let (x, y) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        evidence.given(a, x, true, start);
        assert_eq!(evidence.age(a, x, start + Duration::from_secs(5)), Some(Duration::from_secs(5)));
        assert_eq!(evidence.age(b, x, start), None);
        evidence.given(b, x, true, start);
        assert_eq!((evidence.mac_of(x), evidence.age(a, x, start)), (Some(b), None));
        evidence.given(b, y, true, start);
        assert_eq!((evidence.mac_of(x), evidence.mac_of(y)), (None, Some(b)));
        evidence.released(b);
        assert_eq!(evidence.mac_of(y), None);
    }

    #[test]
    fn a_machine_has_an_address_of_each_family() {
        let (evidence, start, mac) = (Evidence::default(), Instant::now(), Mac([2, 0, 0, 0, 0, 1]));
        let (four, six) = (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
        evidence.given(mac, four, true, start);
        evidence.given(mac, six, true, start);
        assert_eq!((evidence.mac_of(four), evidence.mac_of(six)), (Some(mac), Some(mac)));
        evidence.released(mac);
        assert_eq!((evidence.mac_of(four), evidence.mac_of(six)), (None, Some(mac)));
    }

    #[test]
    fn a_renewal_by_a_running_system_is_no_evidence_of_a_boot() {
        let (evidence, start) = (Evidence::default(), Instant::now());
        let (a, b, x) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(10, 0, 0, 1));
        evidence.given(a, x, false, start);
        assert_eq!((evidence.mac_of(x), evidence.age(a, x, start)), (Some(a), None));
        evidence.given(a, x, true, start);
        let later = start + Duration::from_secs(1800);
        evidence.given(a, x, false, later);
        assert_eq!(evidence.age(a, x, later), Some(Duration::from_secs(1800)));
        evidence.given(b, x, false, later);
        assert_eq!(evidence.age(b, x, later), None);
    }
}
