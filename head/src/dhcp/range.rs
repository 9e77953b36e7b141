//! What the machine does about addresses of a range: unknown machines borrow them for a short time.

use core::time::Duration;
use std::net::Ipv4Addr;
use std::sync::Arc;

use dhcproto::v4::MessageType;
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::{Mono, Now};

use super::judge::{Origin, Verdict};
use super::leases::{NoLease, Wish};
use super::machine::{Machine, Output, wall};
use super::packet::Request;
use super::pending::Waiting;

/// Addresses that are looked at for one machine before it has to ask again.
const TRIES: u8 = 4;
/// How often it is said that a range is full.
const SAY_FULL: Duration = Duration::from_secs(60);

impl Machine {
    /// Something about an address of a range.
    pub(super) fn range(&mut self, now: Now, origin: Origin<'_>, request: &Request, bytes: &[u8], repeats: u8) {
        let Some((index, subnet)) = origin.subnet else { return };
        let (lease, limit, time) = (subnet.lease, self.settings.policy.port_limit, wall(now));
        let port = request.port();
        let wish = Wish {
            mac: request.mac,
            wanted: request.wanted(),
            port: port.as_deref(),
            port_limit: limit,
            hostname: request.hostname(),
        };
        match request.kind {
            MessageType::Discover => self.offer(now, origin, request, (bytes, 0, repeats)),
            MessageType::Request => {
                let bound = self.pools.get_mut(&index).and_then(|pool| pool.bind(time, &wish, lease));
                match bound {
                    Some(record) => {
                        let address = record.address;
                        self.output.push_back(Output::Store(record));
                        self.lend_of_range(now, origin, request, address, (MessageType::Ack, repeats));
                    }
                    None => {
                        let why = "this machine has no such address here: ask for one".to_owned();
                        self.refuse(origin, request, why);
                    }
                }
            }
            MessageType::Release => self.give_up_range(now, request),
            MessageType::Decline => {
                let own = self.pools.get(&index).and_then(|pool| pool.of(request.mac)).map(|lease| lease.address);
                if let Some(address) = own.filter(|own| request.wanted() == Some(*own)) {
                    self.counters.declined += 1;
                    self.conflict(now, index, address, "a machine that was given it found it in use");
                }
            }
            _ => self.note(request.mac, "no answer: it may ask for an address"),
        }
    }

    fn offer(&mut self, now: Now, origin: Origin<'_>, request: &Request, (bytes, tried, repeats): (&[u8], u8, u8)) {
        let Some((index, _)) = origin.subnet else { return };
        let (settings, nodes, uuids) = (Arc::clone(&self.settings), Arc::clone(&self.nodes), Arc::clone(&self.uuids));
        let Some(mut pool) = self.pools.remove(&index) else { return };
        let port = request.port();
        let wish = Wish {
            mac: request.mac,
            wanted: request.wanted(),
            port: port.as_deref(),
            port_limit: settings.policy.port_limit,
            hostname: request.hostname(),
        };
        let view = self.view(&settings, &nodes, &uuids);
        let offered = pool.offer(wall(now), &wish, |address| view.is_taken(address));
        self.pools.insert(index, pool);
        match offered {
            Ok((address, _)) if self.pending.is_looked_at(address) => {}
            // Behind a relay nobody hears our ARP.
            Ok((address, true)) if settings.policy.probe && origin.selected.is_none() && tried < TRIES => {
                if self.pending.has_room() {
                    let (link, mac, bytes) = (origin.link, request.mac, bytes.to_vec());
                    self.pending.wait(now.mono, address, Waiting { link, mac, bytes, tried });
                    self.output.push_back(Output::Probe { link, address });
                }
            }
            Ok((address, _)) => self.lend_of_range(now, origin, request, address, (MessageType::Offer, repeats)),
            Err(why) => self.no_lease(now.mono, index, request, why),
        }
    }

    /// Nobody uses the address that this machine waits for.
    pub(super) fn offer_looked_at(&mut self, now: Now, link: usize, request: &Request) {
        let (settings, nodes, uuids) = (Arc::clone(&self.settings), Arc::clone(&self.nodes), Arc::clone(&self.uuids));
        // It may have become known meanwhile, or another server may have come.
        let Verdict::Range(origin) = self.view(&settings, &nodes, &uuids).judge(link, request, false) else { return };
        let pool = origin.subnet.and_then(|(index, _)| self.pools.get(&index));
        if let Some(address) = pool.and_then(|pool| pool.of(request.mac)).map(|lease| lease.address) {
            self.lend_of_range(now, origin, request, address, (MessageType::Offer, 0));
        }
    }

    fn lend_of_range(
        &mut self,
        now: Now,
        origin: Origin<'_>,
        request: &Request,
        address: Ipv4Addr,
        (kind, repeats): (MessageType, u8),
    ) {
        let (settings, nodes, uuids) = (Arc::clone(&self.settings), Arc::clone(&self.nodes), Arc::clone(&self.uuids));
        let place = self.view(&settings, &nodes, &uuids).range_place(origin, request.mac, address);
        if let Some(place) = place {
            self.lend(now, &place, request, kind, repeats);
        }
    }

    fn no_lease(&mut self, now: Mono, index: usize, request: &Request, why: NoLease) {
        self.counters.exhausted += 1;
        let why = match why {
            NoLease::Full => "every address of the range is taken",
            NoLease::Port => "the machines behind its port have as many addresses as they may",
        };
        self.note(request.mac, format!("no answer: {why}"));
        let said = self.full_said.get(&index).copied();
        if said.is_none_or(|said| now.since(said) >= SAY_FULL) {
            self.full_said.insert(index, now);
            let net = self.settings.policy.subnets.get(index).map(|subnet| subnet.net.to_string());
            let text = format!("DHCP: an unknown machine in {} got no address: {why}", net.unwrap_or_default());
            self.output.push_back(Output::Alarm(text));
        }
    }

    /// The machine does not have its address of a range any more.
    pub(super) fn give_up_range(&mut self, now: Now, request: &Request) {
        let released: Vec<_> =
            self.pools.values_mut().filter_map(|pool| pool.release(wall(now), request.mac)).collect();
        for record in released {
            self.note(request.mac, format!("it does not have {} any more", record.address));
            self.output.push_back(Output::Store(record));
            self.output.push_back(Output::Released { mac: request.mac });
        }
    }

    /// Somebody answers ARP for an address that a machine waits for.
    pub(super) fn in_use(&mut self, now: Now, link: usize, address: Ipv4Addr, by: Mac) {
        let Some(waiting) = self.pending.take(address) else { return };
        if waiting.link != link || waiting.mac == by {
            // It is its own: firmware and iPXE of one machine may answer for each other.
            self.pending.wait(now.mono, address, waiting);
            return;
        }
        self.counters.conflicts += 1;
        let index = self.pools.iter().find(|(_, pool)| pool.contains(address)).map(|(index, _)| *index);
        if let Some(index) = index {
            self.conflict(now, index, address, &format!("{by} answers for it"));
        }
        let (settings, nodes, uuids) = (Arc::clone(&self.settings), Arc::clone(&self.nodes), Arc::clone(&self.uuids));
        if let Ok(request) = Request::parse(&waiting.bytes)
            && let Verdict::Range(origin) = self.view(&settings, &nodes, &uuids).judge(link, &request, false)
        {
            self.offer(now, origin, &request, (&waiting.bytes, waiting.tried + 1, 0));
        }
    }

    fn conflict(&mut self, now: Now, index: usize, address: Ipv4Addr, why: &str) {
        if let Some(record) = self.pools.get_mut(&index).and_then(|pool| pool.conflict(wall(now), address)) {
            self.output.push_back(Output::Released { mac: record.mac });
            self.output.push_back(Output::Store(record));
            self.output.push_back(Output::Alarm(format!(
                "DHCP: {address} is in use by a machine that was not given it: {why}; it is not lent for 10 minutes"
            )));
        }
    }
}
