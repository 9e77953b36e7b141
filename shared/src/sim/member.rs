//! What the simulator keeps of one member beside its engine.

use super::flows::FlowId;
use crate::swarm::{Engine, ReqId, ServeId};
use crate::time::Mono;

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conn {
    pub(super) id: u64,
    /// The last message to the other end arrives then: order is kept.
    pub(super) last: Mono,
}

/// A member's connections: few, and searched all the time.
#[derive(Debug, Default)]
pub(super) struct Conns {
    peers: Vec<u32>,
    ends: Vec<Conn>,
}

impl Conns {
    fn place(&self, peer: u32) -> Option<usize> {
        self.peers.iter().position(|&other| other == peer)
    }

    pub(super) fn get(&self, peer: u32) -> Option<&Conn> {
        self.ends.get(self.place(peer)?)
    }

    pub(super) fn get_mut(&mut self, peer: u32) -> Option<&mut Conn> {
        let place = self.place(peer)?;
        self.ends.get_mut(place)
    }

    pub(super) fn insert(&mut self, peer: u32, conn: Conn) {
        self.peers.push(peer);
        self.ends.push(conn);
    }

    pub(super) fn remove(&mut self, peer: u32) -> Option<Conn> {
        let place = self.place(peer)?;
        self.peers.swap_remove(place);
        Some(self.ends.swap_remove(place))
    }

    pub(super) fn peers(&self) -> &[u32] {
        &self.peers
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Conn)> {
        self.peers.iter().copied().zip(self.ends.iter().copied())
    }
}

/// A peer's request, as the sender's shell knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    pub(super) serve: ServeId,
    pub(super) asker: u32,
    pub(super) req: ReqId,
    /// The asker is told what it will get.
    pub(super) rarest: bool,
    /// Its transfer, once it is being served.
    pub(super) flow: Option<FlowId>,
}

/// How a member misbehaves, or what its machine cannot do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vices {
    /// All that it sends is wrong.
    pub(super) corrupt: bool,
    /// It takes requests and answers none.
    pub(super) mute: bool,
    /// One in so many units that it receives is altered in its memory; 0 for none.
    pub(super) flips: u32,
    /// Its store takes nothing.
    pub(super) full: bool,
    /// Its certificate does not count: every handshake with it fails.
    pub(super) outlawed: bool,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) engine: Option<Engine>,
    pub(super) life: u32,
    pub(super) alive: bool,
    pub(super) conns: Conns,
    pub(super) reqs: Vec<(ReqId, u32)>,
    pub(super) serves: Vec<Serving>,
    pub(super) next_serve: u64,
    pub(super) wake: Option<Mono>,
    pub(super) cpu_free: Mono,
    pub(super) vices: Vices,
    /// Nothing reaches it, and nothing of it reaches others, until then.
    pub(super) dark_until: Mono,
    pub(super) finished: Option<Mono>,
    pub(super) begun: Option<Mono>,
}

impl Member {
    pub(super) fn new() -> Self {
        Self {
            engine: None,
            life: 0,
            alive: true,
            conns: Conns::default(),
            reqs: vec![],
            serves: vec![],
            next_serve: 0,
            wake: None,
            cpu_free: Mono::ZERO,
            vices: Vices::default(),
            dark_until: Mono::ZERO,
            finished: None,
            begun: None,
        }
    }

    /// The request is over; whom it was sent to.
    pub(super) fn take_req(&mut self, req: ReqId) -> Option<u32> {
        let place = self.reqs.iter().position(|&(other, _)| other == req)?;
        Some(self.reqs.swap_remove(place).1)
    }

    pub(super) fn has_req(&self, req: ReqId) -> bool {
        self.reqs.iter().any(|&(other, _)| other == req)
    }

    pub(super) fn serving(&mut self, serve: ServeId) -> Option<&mut Serving> {
        self.serves.iter_mut().find(|serving| serving.serve == serve)
    }

    pub(super) fn take_serving(&mut self, serve: ServeId) -> Option<Serving> {
        let place = self.serves.iter().position(|serving| serving.serve == serve)?;
        Some(self.serves.swap_remove(place))
    }
}
