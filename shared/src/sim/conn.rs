//! Joins, connections and the messages on them.

use core::time::Duration;
use std::collections::VecDeque;

use super::event::Event;
use super::member::{Conn, Serving};
use super::world::{IMAGE, World};
use super::{Observer, Tracker};
use crate::swarm::{End, Engine, Input, PeerIx, PeerKind};
use crate::time::{Mono, Now};

/// How long a join is waited for before it is tried again.
const JOIN_AGAIN: Duration = Duration::from_secs(1);
/// How long a dial to a dead member takes to fail.
const DIAL_FAILS: Duration = Duration::from_secs(1);
/// How many peers a join answer names.
const FIRST_PEERS: u16 = 28;
/// How much later a message comes that had to be sent again.
const SENT_AGAIN: Duration = Duration::from_millis(2);

impl<T: Tracker> World<T> {
    /// A member is switched on: the head has everything, a node asks to join.
    pub(super) fn start(&mut self, node: u32, life: u32, observer: &mut impl Observer) {
        if !self.lives(node, life) || self.members[node as usize].engine.is_some() {
            return;
        }
        let now = self.now;
        self.members[node as usize].begun.get_or_insert(now);
        if self.spec.is_head(node) {
            self.tracker.restarted();
            self.new_engine(node);
            self.tell(node, Input::Image { image: IMAGE, units: self.spec.image.units }, observer);
            self.tell(node, Input::Table { image: IMAGE, lens: self.spec.image.lens.clone() }, observer);
            self.tell(node, Input::Held { image: IMAGE, run: self.whole() }, observer);
        } else {
            // TCP, Noise and the request: three round trips less the way back.
            let at = now.max(self.members[node as usize].dark_until) + self.spec.links.latency * 5;
            self.queue.push(at, Event::JoinAsked { node, life });
            self.queue.push(now + JOIN_AGAIN, Event::Start { node, life });
        }
    }

    fn new_engine(&mut self, node: u32) {
        let config = self.spec.members[node as usize].config;
        let seed = self.spec.seed ^ (u64::from(node) << 32) ^ u64::from(self.members[node as usize].life);
        self.members[node as usize].engine = Some(Engine::new(config, seed, Now::mono(self.now)));
    }

    fn a_head_lives(&self) -> bool {
        self.members.iter().take(self.spec.heads as usize).any(|head| head.alive && head.dark_until <= self.now)
    }

    /// The join takes the node and the head its time; that it is one of many the head does at a time is not counted.
    pub(super) fn join_asked(&mut self, node: u32, life: u32) {
        let member = &self.members[node as usize];
        if !self.a_head_lives() || !self.lives(node, life) || member.engine.is_some() || member.dark_until > self.now {
            return;
        }
        let rack = self.spec.members[node as usize].rack;
        let candidates = if self.tracker_dead {
            let head = |peer| crate::swarm::Candidate { peer: PeerIx(peer), kind: PeerKind::Head, same_rack: false };
            (0..self.spec.heads).map(head).collect()
        } else {
            self.tracker.ask(self.now, PeerIx(node), rack, FIRST_PEERS, &mut self.rng)
        };
        let done = self.now + self.spec.links.handshake_cpu * 2 + self.spec.links.latency;
        self.new_engine(node);
        let image = Input::Image { image: IMAGE, units: self.spec.image.units };
        self.queue.push(done, Event::Tell { node, life, input: image });
        self.queue.push(done, Event::Tell { node, life, input: Input::Candidates(candidates) });
        let (size, cap) = self.tracker.rack();
        self.queue.push(done, Event::Tell { node, life, input: Input::Rack { size, cap } });
    }

    pub(super) fn tracker_asked(&mut self, node: u32, life: u32, want: u16) {
        let dark = self.lives(node, life) && self.members[node as usize].dark_until > self.now;
        if self.a_head_lives() && self.lives(node, life) && !self.tracker_dead && !dark {
            let rack = self.spec.members[node as usize].rack;
            let candidates = self.tracker.ask(self.now, PeerIx(node), rack, want, &mut self.rng);
            let at = self.now + self.spec.links.latency;
            self.queue.push(at, Event::Tell { node, life, input: Input::Candidates(candidates) });
            let (size, cap) = self.tracker.rack();
            self.queue.push(at, Event::Tell { node, life, input: Input::Rack { size, cap } });
        }
    }

    /// Occupies a member's CPU for one handshake; when that is done.
    fn work(&mut self, node: u32) -> Mono {
        let member = &mut self.members[node as usize];
        member.cpu_free = member.cpu_free.max(self.now) + self.spec.links.handshake_cpu;
        member.cpu_free
    }

    pub(super) fn dial(&mut self, from: u32, to: u32) {
        let life = self.members[from as usize].life;
        self.queue.push(self.now + self.spec.links.latency, Event::DialArrived { from, life, to });
    }

    pub(super) fn dial_arrived(&mut self, from: u32, life: u32, to: u32) {
        if !self.lives(from, life) {
            return;
        }
        let listens = self.members.get(to as usize).is_some_and(|member| member.alive && member.engine.is_some());
        if !listens || self.dark_between(from, to) > self.now {
            let input = Input::DialFailed { peer: PeerIx(to) };
            return self.queue.push(self.now + DIAL_FAILS, Event::Tell { node: from, life, input });
        }
        let there = self.work(to);
        let here = self.work(from);
        let at = (there + self.spec.links.latency).max(here);
        if [from, to].iter().any(|&end| self.members[end as usize].vices.outlawed) {
            let input = Input::DialFailed { peer: PeerIx(to) };
            return self.queue.push(at, Event::Tell { node: from, life, input });
        }
        let to_life = self.members[to as usize].life;
        self.queue.push(at, Event::Established { from, from_life: life, to, to_life });
    }

    pub(super) fn established(
        &mut self,
        (from, from_life): (u32, u32),
        (to, to_life): (u32, u32),
        observer: &mut impl Observer,
    ) {
        if !self.lives(from, from_life) || self.members[from as usize].conns.get(to).is_some() {
            return; // of simultaneous dials one connection stays
        }
        if !self.lives(to, to_life) {
            return self.tell(from, Input::DialFailed { peer: PeerIx(to) }, observer);
        }
        if self.members[to as usize].conns.get(from).is_some() {
            return; // the other end has not noticed yet that the last connection is gone
        }
        self.next_conn += 1;
        let conn = Conn { id: self.next_conn, last: self.now };
        self.members[from as usize].conns.insert(to, conn);
        self.members[to as usize].conns.insert(from, conn);
        let same_rack = self.spec.same_rack(from, to);
        for (me, other, dialled) in [(to, from, false), (from, to, true)] {
            let kind = if self.spec.is_head(other) { PeerKind::Head } else { PeerKind::Node };
            if self.is_conn(me, other, conn.id) {
                self.tell(me, Input::Connected { peer: PeerIx(other), kind, same_rack, dialled }, observer);
            }
        }
    }

    /// Until when nothing goes between two members.
    pub(super) fn dark_between(&self, one: u32, other: u32) -> Mono {
        let dark = self.members[one as usize].dark_until.max(self.members[other as usize].dark_until);
        if self.racks_dark.is_empty() || self.spec.same_rack(one, other) {
            return dark;
        }
        let of = |node: u32| self.racks_dark.get(usize::from(self.spec.members[node as usize].rack)).copied();
        dark.max(of(one).unwrap_or_default()).max(of(other).unwrap_or_default())
    }

    /// Sends something over a connection. False if there is none.
    pub(super) fn send(&mut self, from: u32, to: u32, event: impl FnOnce(u64, u32) -> Event) -> bool {
        let links = self.spec.links;
        let mut delay = links.latency;
        if !links.jitter.is_zero() {
            delay += Duration::from_nanos(self.chance(u64::try_from(links.jitter.as_nanos()).unwrap_or(u64::MAX)));
        }
        while links.loss_ppm > 0 && self.chance(1_000_000) < u64::from(links.loss_ppm) {
            delay += SENT_AGAIN;
        }
        let leaves = self.now.max(self.dark_between(from, to));
        let Some(conn) = self.members[from as usize].conns.get_mut(to) else { return false };
        conn.last = conn.last.max(leaves + delay);
        let (at, id) = (conn.last, conn.id);
        self.queue.push(at, event(id, to));
        true
    }

    /// Whether this end still has this connection.
    pub(super) fn is_conn(&self, node: u32, peer: u32, conn: u64) -> bool {
        self.members[node as usize].conns.get(peer).is_some_and(|known| known.id == conn)
    }

    /// One end closes: it is over here at once, and there when the word has come.
    pub(super) fn hang_up(&mut self, node: u32, peer: u32, inputs: &mut VecDeque<Input>) {
        self.send(node, peer, |conn, to| Event::Gone { conn, node: to, peer: node });
        inputs.extend(self.forget(node, peer));
    }

    /// Takes a connection away from one end; what its engine is to be told.
    fn forget(&mut self, node: u32, peer: u32) -> Vec<Input> {
        let member = &mut self.members[node as usize];
        if member.conns.remove(peer).is_none() {
            return vec![];
        }
        let mut told = vec![];
        member.reqs.retain(|&(req, other)| {
            if other == peer {
                told.push(Input::Ended { req, end: End::PeerGone });
            }
            other != peer
        });
        told.push(Input::Disconnected { peer: PeerIx(peer) });
        let broken: Vec<Serving> = member.serves.extract_if(.., |serving| serving.asker == peer).collect();
        for flow in broken.into_iter().filter_map(|serving| serving.flow) {
            self.end_flow(flow);
        }
        told
    }

    pub(super) fn gone(&mut self, conn: u64, node: u32, peer: u32, observer: &mut impl Observer) {
        if self.is_conn(node, peer, conn) {
            for input in self.forget(node, peer) {
                self.tell(node, input, observer);
            }
        }
    }
}
