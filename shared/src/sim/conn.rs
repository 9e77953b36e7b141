//! Joins, connections and the messages on them.

use core::time::Duration;
use std::collections::VecDeque;

use super::Tracker;
use super::world::{Conn, Event, IMAGE, Observer, World};
use crate::swarm::{End, Engine, Input, PeerIx, PeerKind, ReqId};
use crate::time::{Mono, Now};

/// How long a join is waited for before it is tried again.
const JOIN_AGAIN: Duration = Duration::from_secs(1);
/// How long a dial to a dead member takes to fail.
const DIAL_FAILS: Duration = Duration::from_secs(1);
/// How many peers a join answer names.
const FIRST_PEERS: u16 = 28;

impl<T: Tracker> World<T> {
    /// A member is switched on: the head has everything, a node asks to join.
    pub(super) fn start(&mut self, node: u32, life: u32, observer: &mut impl Observer) {
        if !self.lives(node, life) || self.members[node as usize].engine.is_some() {
            return;
        }
        let now = self.now;
        self.members[node as usize].begun.get_or_insert(now);
        if Self::is_head(node) {
            self.tracker.restarted();
            self.new_engine(node);
            self.tell(node, Input::Image { image: IMAGE, units: self.spec.image.units }, observer);
            self.tell(node, Input::Table { image: IMAGE, lens: self.spec.image.lens.clone() }, observer);
            self.tell(node, Input::Held { image: IMAGE, run: self.whole() }, observer);
        } else {
            // TCP, Noise and the request: three round trips less the way back.
            self.queue.push(now + self.spec.links.latency * 5, Event::JoinAsked { node, life });
            self.queue.push(now + JOIN_AGAIN, Event::Start { node, life });
        }
    }

    fn new_engine(&mut self, node: u32) {
        let config = self.spec.members[node as usize].config;
        let seed = self.spec.seed ^ (u64::from(node) << 32) ^ u64::from(self.members[node as usize].life);
        self.members[node as usize].engine = Some(Engine::new(config, seed, Now::mono(self.now)));
    }

    pub(super) fn join_asked(&mut self, node: u32, life: u32) {
        if !self.members[0].alive || !self.lives(node, life) || self.members[node as usize].engine.is_some() {
            return;
        }
        let rack = self.spec.members[node as usize].rack;
        let candidates = self.tracker.ask(self.now, PeerIx(node), rack, FIRST_PEERS, &mut self.rng);
        let done = self.work(0) + self.spec.links.latency;
        self.new_engine(node);
        let image = Input::Image { image: IMAGE, units: self.spec.image.units };
        self.queue.push(done, Event::Tell { node, life, input: image });
        self.queue.push(done, Event::Tell { node, life, input: Input::Candidates(candidates) });
    }

    pub(super) fn tracker_asked(&mut self, node: u32, life: u32, want: u16) {
        if self.members[0].alive && self.lives(node, life) {
            let rack = self.spec.members[node as usize].rack;
            let candidates = self.tracker.ask(self.now, PeerIx(node), rack, want, &mut self.rng);
            let at = self.now + self.spec.links.latency;
            self.queue.push(at, Event::Tell { node, life, input: Input::Candidates(candidates) });
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
        if !listens {
            let input = Input::DialFailed { peer: PeerIx(to) };
            return self.queue.push(self.now + DIAL_FAILS, Event::Tell { node: from, life, input });
        }
        let there = self.work(to);
        let here = self.work(from);
        let at = (there + self.spec.links.latency).max(here);
        let to_life = self.members[to as usize].life;
        self.queue.push(at, Event::Established { from, from_life: life, to, to_life });
    }

    pub(super) fn established(
        &mut self,
        (from, from_life): (u32, u32),
        (to, to_life): (u32, u32),
        observer: &mut impl Observer,
    ) {
        if !self.lives(from, from_life) || self.members[from as usize].conns.contains_key(&to) {
            return; // of simultaneous dials one connection stays
        }
        if !self.lives(to, to_life) {
            return self.tell(from, Input::DialFailed { peer: PeerIx(to) }, observer);
        }
        if self.members[to as usize].conns.contains_key(&from) {
            return; // the other end has not noticed yet that the last connection is gone
        }
        self.next_conn += 1;
        let conn = Conn { id: self.next_conn, last: self.now };
        self.members[from as usize].conns.insert(to, conn);
        self.members[to as usize].conns.insert(from, conn);
        for (me, other, dialled) in [(to, from, false), (from, to, true)] {
            let kind = if Self::is_head(other) { PeerKind::Head } else { PeerKind::Node };
            let same_rack = self.spec.members[me as usize].rack == self.spec.members[other as usize].rack;
            if self.is_conn(me, other, conn.id) {
                self.tell(me, Input::Connected { peer: PeerIx(other), kind, same_rack, dialled }, observer);
            }
        }
    }

    /// Sends something over a connection. False if there is none.
    pub(super) fn send(&mut self, from: u32, to: u32, event: impl FnOnce(u64, u32) -> Event) -> bool {
        let jitter = u64::try_from(self.spec.links.jitter.as_nanos()).unwrap_or(u64::MAX);
        let delay = self.spec.links.latency + Duration::from_nanos(self.chance(jitter));
        let Some(conn) = self.members[from as usize].conns.get_mut(&to) else { return false };
        conn.last = conn.last.max(self.now + delay);
        let (at, id) = (conn.last, conn.id);
        self.queue.push(at, event(id, to));
        true
    }

    /// Whether this end still has this connection.
    pub(super) fn is_conn(&self, node: u32, peer: u32, conn: u64) -> bool {
        self.members[node as usize].conns.get(&peer).is_some_and(|known| known.id == conn)
    }

    /// One end closes: it is over here at once, and there when the word has come.
    pub(super) fn hang_up(&mut self, node: u32, peer: u32, inputs: &mut VecDeque<Input>) {
        self.send(node, peer, |conn, to| Event::Gone { conn, node: to, peer: node });
        inputs.extend(self.forget(node, peer));
    }

    /// Takes a connection away from one end; what its engine is to be told.
    fn forget(&mut self, node: u32, peer: u32) -> Vec<Input> {
        let member = &mut self.members[node as usize];
        if member.conns.remove(&peer).is_none() {
            return vec![];
        }
        let lost: Vec<ReqId> = member.reqs.extract_if(.., |_, other| *other == peer).map(|(req, _)| req).collect();
        member.serves.retain(|_, serving| serving.asker != peer);
        self.net.end_all_of(node, Some(peer));
        let ended = lost.into_iter().map(|req| Input::Ended { req, end: End::PeerGone });
        ended.chain([Input::Disconnected { peer: PeerIx(peer) }]).collect()
    }

    pub(super) fn gone(&mut self, conn: u64, node: u32, peer: u32, observer: &mut impl Observer) {
        if self.is_conn(node, peer, conn) {
            for input in self.forget(node, peer) {
                self.tell(node, input, observer);
            }
        }
    }

    /// A member dies without a word; its peers notice later.
    pub(super) fn die(&mut self, node: u32) {
        let noticed = self.now + self.spec.links.death_noticed;
        let member = &mut self.members[node as usize];
        member.alive = false;
        member.life += 1;
        member.engine = None;
        member.wake = None;
        member.finished = None;
        member.reqs.clear();
        member.serves.clear();
        for (peer, conn) in core::mem::take(&mut member.conns) {
            self.queue.push(noticed, Event::Gone { conn: conn.id, node: peer, peer: node });
        }
        self.net.end_all_of(node, None);
    }
}
