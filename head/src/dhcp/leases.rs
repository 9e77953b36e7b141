//! The addresses of one range: who has which, until when. Pure; a lease belongs to one machine, and a machine has one lease.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::UnixTime;

use crate::config::AddressRange;

/// How long an address that was offered is kept for whoever was offered it.
const OFFER: Duration = Duration::from_secs(10);
/// How long an address that somebody else was found to use is not lent.
const QUARANTINE: Duration = Duration::from_secs(600);

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// It was offered; not stored.
    Offered,
    /// A machine has it.
    Bound,
    /// It was found in use by somebody who was not given it.
    Conflict,
    /// It was given back.
    Released,
}

/// A lease of an unknown machine, as it is stored. What nodes have is computed from the registry and never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The address.
    pub address: Ipv4Addr,
    /// Whose it is.
    pub mac: Mac,
    /// How it stands.
    pub state: LeaseState,
    /// Until when.
    pub expires: UnixTime,
    /// The port behind which the machine is, as a relay told it (option 82).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The name that the machine gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

impl LeaseRecord {
    /// Whether nobody else may have the address now.
    pub fn holds(&self, now: UnixTime) -> bool {
        self.state != LeaseState::Released && self.expires > now
    }
}

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLease {
    /// All are taken.
    Full,
    /// The machines behind this port have as many as they may.
    Port,
}

/// The addresses of one range.
#[derive(Debug)]
pub(super) struct Pool {
    range: AddressRange,
    leases: BTreeMap<Ipv4Addr, LeaseRecord>,
    by_mac: BTreeMap<Mac, Ipv4Addr>,
    /// Those that hold, by their end.
    held: BTreeSet<(UnixTime, Ipv4Addr)>,
    /// Those that are over, the oldest first: lent again when nothing else is left.
    idle: BTreeSet<(UnixTime, Ipv4Addr)>,
    by_port: BTreeMap<String, u32>,
    /// The first address that was never lent; past the last once all were.
    fresh: u64,
}

impl Pool {
    pub(super) fn new(range: AddressRange) -> Self {
        Self {
            range,
            leases: BTreeMap::new(),
            by_mac: BTreeMap::new(),
            held: BTreeSet::new(),
            idle: BTreeSet::new(),
            by_port: BTreeMap::new(),
            fresh: u64::from(range.first.to_bits()),
        }
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        (self.range.first..=self.range.last).contains(&address)
    }

    /// The lease of this machine, also one that is over.
    pub(super) fn of(&self, mac: Mac) -> Option<&LeaseRecord> {
        self.leases.get(self.by_mac.get(&mac)?)
    }

    /// Takes a stored lease over: from before a restart, or one of another head. Of two leases of a machine the last counts.
    pub(super) fn restore(&mut self, record: LeaseRecord, now: UnixTime) {
        if self.contains(record.address) {
            self.put(record, now);
        }
    }

    /// An address for this machine: the one it had, the one it wants, one that nobody had yet, or the one that is over for longest.
    /// Says whether it is another than before. `taken` says which addresses are others' by configuration.
    pub(super) fn offer(
        &mut self,
        now: UnixTime,
        request: &Wish<'_>,
        taken: impl Fn(Ipv4Addr) -> bool,
    ) -> Result<(Ipv4Addr, bool), NoLease> {
        self.sweep(now);
        let before = self.of(request.mac).cloned();
        if let Some(lease) = before.filter(|lease| lease.state != LeaseState::Conflict && !taken(lease.address)) {
            if lease.holds(now) {
                return Ok((lease.address, false));
            }
            self.check_port(request)?;
            self.hold(now, request, lease.address, LeaseState::Offered, OFFER);
            return Ok((lease.address, false));
        }
        self.check_port(request)?;
        let wanted = request.wanted.filter(|wanted| self.contains(*wanted) && self.is_free(*wanted) && !taken(*wanted));
        let address = wanted.or_else(|| self.next_fresh(&taken)).or_else(|| self.next_idle(&taken));
        let address = address.ok_or(NoLease::Full)?;
        self.hold(now, request, address, LeaseState::Offered, OFFER);
        Ok((address, true))
    }

    /// Binds an address that this machine was offered or has; `None` where it is not its own.
    pub(super) fn bind(&mut self, now: UnixTime, wish: &Wish<'_>, lease: Duration) -> Option<LeaseRecord> {
        self.sweep(now);
        let address = wish.wanted?;
        let own = self.of(wish.mac).is_some_and(|own| own.address == address && own.state != LeaseState::Conflict);
        if !own {
            return None;
        }
        self.hold(now, wish, address, LeaseState::Bound, lease);
        self.leases.get(&address).cloned()
    }

    /// This machine gives its address back.
    pub(super) fn release(&mut self, now: UnixTime, mac: Mac) -> Option<LeaseRecord> {
        let mut record = self.of(mac).filter(|lease| lease.state != LeaseState::Conflict)?.clone();
        (record.state, record.expires) = (LeaseState::Released, now);
        self.put(record.clone(), now);
        Some(record)
    }

    /// Somebody uses this address who was not given it.
    pub(super) fn conflict(&mut self, now: UnixTime, address: Ipv4Addr) -> Option<LeaseRecord> {
        let mut record = self.leases.get(&address)?.clone();
        (record.state, record.expires) = (LeaseState::Conflict, now + QUARANTINE);
        self.put(record.clone(), now);
        Some(record)
    }

    fn check_port(&self, wish: &Wish<'_>) -> Result<(), NoLease> {
        let Some(port) = wish.port else { return Ok(()) };
        let held = self.by_port.get(port).copied().unwrap_or(0);
        if held < u32::from(wish.port_limit) { Ok(()) } else { Err(NoLease::Port) }
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        self.leases.get(&address).is_none_or(|lease| self.idle.contains(&(lease.expires, address)))
    }

    fn next_fresh(&mut self, taken: &impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        while self.fresh <= u64::from(self.range.last.to_bits()) {
            let address = Ipv4Addr::from_bits(u32::try_from(self.fresh).ok()?);
            self.fresh += 1;
            if !self.leases.contains_key(&address) && !taken(address) {
                return Some(address);
            }
        }
        None
    }

    fn next_idle(&self, taken: &impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        self.idle.iter().map(|(_, address)| *address).find(|address| !taken(*address))
    }

    fn hold(&mut self, now: UnixTime, wish: &Wish<'_>, address: Ipv4Addr, state: LeaseState, lease: Duration) {
        let (port, hostname) = (wish.port.map(str::to_owned), wish.hostname.map(str::to_owned));
        self.put(LeaseRecord { address, mac: wish.mac, state, expires: now + lease, port, hostname }, now);
    }

    fn put(&mut self, record: LeaseRecord, now: UnixTime) {
        self.forget(record.address);
        // In quarantine it is nobody's.
        if record.state != LeaseState::Conflict {
            if let Some(other) = self.by_mac.get(&record.mac).copied() {
                self.forget(other);
                // Nothing is known of it any more, so it is as good as new.
                self.fresh = self.fresh.min(u64::from(other.to_bits()));
            }
            self.by_mac.insert(record.mac, record.address);
        }
        if record.holds(now) {
            self.held.insert((record.expires, record.address));
            self.count_port(record.port.as_deref(), true);
        } else {
            self.idle.insert((record.expires, record.address));
        }
        self.leases.insert(record.address, record);
    }

    fn forget(&mut self, address: Ipv4Addr) {
        let Some(old) = self.leases.remove(&address) else { return };
        if self.by_mac.get(&old.mac) == Some(&address) {
            self.by_mac.remove(&old.mac);
        }
        self.idle.remove(&(old.expires, address));
        if self.held.remove(&(old.expires, address)) {
            self.count_port(old.port.as_deref(), false);
        }
    }

    fn count_port(&mut self, port: Option<&str>, more: bool) {
        let Some(port) = port else { return };
        let count = self.by_port.entry(port.to_owned()).or_insert(0);
        *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        if *count == 0 {
            self.by_port.remove(port);
        }
    }

    /// What ran out is no longer held.
    fn sweep(&mut self, now: UnixTime) {
        while let Some((expires, address)) = self.held.first().copied().filter(|(expires, _)| *expires <= now) {
            self.held.remove(&(expires, address));
            self.idle.insert((expires, address));
            let port = self.leases.get(&address).and_then(|lease| lease.port.clone());
            self.count_port(port.as_deref(), false);
        }
    }
}

/// What a machine asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) mac: Mac,
    pub(super) wanted: Option<Ipv4Addr>,
    pub(super) port: Option<&'a str>,
    pub(super) port_limit: u16,
    pub(super) hostname: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(mac: u8, wanted: Option<u8>, port: Option<&str>) -> Wish<'_> {
        let wanted = wanted.map(|last| Ipv4Addr::new(10, 0, 0, last));
        Wish { mac: Mac([2, 0, 0, 0, 0, mac]), wanted, port, port_limit: 2, hostname: None }
    }

    fn pool() -> Pool {
        Pool::new("10.0.0.10-10.0.0.14".parse().unwrap())
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    const LEASE: Duration = Duration::from_secs(120);

    #[test]
    fn a_machine_gets_the_address_it_had_even_after_its_lease_is_over() {
        let mut pool = pool();
        let (first, fresh) = pool.offer(at(0), &wish(1, None, None), |_| false).unwrap();
        assert!(fresh);
        let bound = pool.bind(at(1), &Wish { wanted: Some(first), ..wish(1, None, None) }, LEASE).unwrap();
        assert_eq!((bound.state, bound.expires), (LeaseState::Bound, at(121)));
        assert_ne!(pool.offer(at(500), &wish(2, None, None), |_| false).unwrap().0, first);
        assert_eq!(pool.offer(at(500), &wish(1, None, None), |_| false), Ok((first, false)));
    }

    #[test]
    fn what_nobody_ever_had_is_lent_before_what_somebody_had() {
        let mut pool = pool();
        for mac in 1..=5 {
            pool.offer(at(u64::from(mac)), &wish(mac, None, None), |_| false).unwrap();
        }
        assert_eq!(pool.offer(at(6), &wish(6, None, None), |_| false), Err(NoLease::Full));
        // The offer that ran out first.
        assert_eq!(pool.offer(at(12), &wish(6, None, None), |_| false), Ok((Ipv4Addr::new(10, 0, 0, 10), true)));
        assert!(pool.of(Mac([2, 0, 0, 0, 0, 1])).is_none());
    }

    #[test]
    fn machines_behind_one_port_do_not_take_the_whole_range() {
        let mut pool = pool();
        for mac in 1..=2 {
            pool.offer(at(0), &wish(mac, None, Some("eth7")), |_| false).unwrap();
        }
        assert_eq!(pool.offer(at(0), &wish(3, None, Some("eth7")), |_| false), Err(NoLease::Port));
        pool.offer(at(0), &wish(4, None, Some("eth8")), |_| false).unwrap();
        // Its offers have run out.
        pool.offer(at(11), &wish(3, None, Some("eth7")), |_| false).unwrap();
    }

    #[test]
    fn an_address_in_use_by_a_stranger_is_left_alone_for_a_while() {
        let mut pool = pool();
        let (first, _) = pool.offer(at(0), &wish(1, None, None), |_| false).unwrap();
        pool.conflict(at(0), first).unwrap();
        let (second, fresh) = pool.offer(at(0), &wish(1, Some(10), None), |_| false).unwrap();
        assert!(second != first && fresh);
        assert!(pool.bind(at(0), &Wish { wanted: Some(first), ..wish(1, None, None) }, LEASE).is_none());
    }

    #[test]
    fn a_stranger_that_keeps_an_address_takes_none_from_whoever_had_it() {
        let mut pool = pool();
        let (first, _) = pool.offer(at(0), &wish(1, None, None), |_| false).unwrap();
        pool.conflict(at(0), first).unwrap();
        let (second, _) = pool.offer(at(0), &wish(1, None, None), |_| false).unwrap();
        pool.conflict(at(0), first).unwrap();
        assert_eq!(pool.of(Mac([2, 0, 0, 0, 0, 1])).map(|lease| lease.address), Some(second));
    }

    proptest! {
        /// Whatever machines do in whatever order, no address has two holders and no machine two addresses.
        #[test]
        fn leases_never_collide(steps in prop::collection::vec((0u8..5, 0u8..8, 9u8..16, 0u64..40), 0..200)) {
            let mut pool = pool();
            let mut time = 0;
            // What each machine was told it has, until when.
            let mut told: BTreeMap<Mac, (Ipv4Addr, UnixTime)> = BTreeMap::new();
            for (what, mac, last, pause) in steps {
                time += pause;
                let (now, port) = (at(time), if mac % 2 == 0 { Some("p") } else { None });
                let wish = wish(mac, Some(last), port);
                told.retain(|_, (_, until)| *until > now);
                match what {
                    0 | 1 => drop(pool.offer(now, &wish, |address| address.octets()[3] == 12)),
                    2 => {
                        let record = pool.bind(now, &wish, LEASE);
                        prop_assert!(record.as_ref().is_none_or(|record| record.mac == wish.mac && pool.contains(record.address)));
                        record.map(|record| told.insert(wish.mac, (record.address, record.expires)));
                    }
                    3 => {
                        pool.release(now, wish.mac);
                        told.remove(&wish.mac);
                    }
                    _ => {
                        let address = Ipv4Addr::new(10, 0, 0, last);
                        pool.conflict(now, address);
                        told.retain(|_, (held, _)| *held != address);
                    }
                }
                let addresses: BTreeSet<Ipv4Addr> = told.values().map(|(address, _)| *address).collect();
                prop_assert_eq!(addresses.len(), told.len(), "two machines were told the same address");
                prop_assert!(!addresses.contains(&Ipv4Addr::new(10, 0, 0, 12)));
                for (mac, (address, _)) in &told {
                    prop_assert_eq!(pool.of(*mac).map(|lease| lease.address), Some(*address));
                }
                prop_assert_eq!(pool.held.len() + pool.idle.len(), pool.leases.len());
            }
        }
    }
}
