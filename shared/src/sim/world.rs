//! The loop: members, their clocks, and what happens to them.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::link::{FlowId, Network};
use super::queue::Queue;
use super::{Fault, Spec, Trace, Tracker};
use crate::image::Run;
use crate::swarm::{Choice, Engine, ImageIx, Input, Output, PeerIx, ReqId, ServeId};
use crate::time::{Mono, Now};

/// The one image of a simulation.
pub(super) const IMAGE: ImageIx = ImageIx(0);

/// Sees every input and output as it happens. The engine is as it is after the input.
pub trait Observer {
    /// A member's engine was told something.
    fn input(&mut self, _at: Mono, _member: u32, _engine: &Engine, _input: &Input) {}
    /// A member's engine said something.
    fn output(&mut self, _at: Mono, _member: u32, _engine: &Engine, _output: &Output) {}
    /// A unit was carried.
    fn transfer(&mut self, _transfer: &Transfer) {}
}

/// Sees nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// One unit carried over two links.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Who sent it.
    pub from: u32,
    /// Who received it.
    pub to: u32,
    /// Which unit.
    pub unit: u32,
    /// Its bytes.
    pub bytes: u32,
    /// When its first bit left.
    pub begun: Mono,
    /// When its last bit had left.
    pub sent: Mono,
    /// When its last bit had passed the receiver's link, without latency.
    pub received: Mono,
}

/// What happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    Start {
        node: u32,
        life: u32,
    },
    JoinAsked {
        node: u32,
        life: u32,
    },
    TrackerAsked {
        node: u32,
        life: u32,
        want: u16,
    },
    /// Not bound to a connection.
    Tell {
        node: u32,
        life: u32,
        input: Input,
    },
    /// Over a connection; void if it is gone.
    Message {
        conn: u64,
        from: u32,
        to: u32,
        input: Input,
    },
    Ask {
        conn: u64,
        from: u32,
        to: u32,
        req: ReqId,
        choice: Choice,
    },
    Withdraw {
        conn: u64,
        from: u32,
        to: u32,
        req: ReqId,
    },
    DialArrived {
        from: u32,
        life: u32,
        to: u32,
    },
    Established {
        from: u32,
        from_life: u32,
        to: u32,
        to_life: u32,
    },
    /// This end learns that the connection is gone.
    Gone {
        conn: u64,
        node: u32,
        peer: u32,
    },
    Wake {
        node: u32,
        life: u32,
    },
    Turn {
        node: u32,
    },
    /// The last byte of a flow has left.
    AllSent {
        from: u32,
        life: u32,
        serve: ServeId,
    },
    Arrived {
        flow: FlowId,
        unit: u32,
        to: u32,
        life: u32,
        corrupt: bool,
        last: bool,
    },
    Fault {
        node: u32,
        fault: Fault,
    },
}

/// A peer's request, as the sender's shell knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    pub(super) asker: u32,
    pub(super) req: ReqId,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) engine: Option<Engine>,
    pub(super) life: u32,
    pub(super) alive: bool,
    pub(super) conns: BTreeMap<u32, Conn>,
    pub(super) reqs: BTreeMap<ReqId, u32>,
    pub(super) serves: BTreeMap<ServeId, Serving>,
    pub(super) next_serve: u64,
    pub(super) wake: Option<Mono>,
    pub(super) cpu_free: Mono,
    pub(super) corrupt: bool,
    pub(super) finished: Option<Mono>,
    pub(super) begun: Option<Mono>,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conn {
    pub(super) id: u64,
    /// The last message to the other end arrives then: order is kept.
    pub(super) last: Mono,
}

/// A simulation under way.
pub struct World<T> {
    pub(super) spec: Spec,
    pub(super) now: Mono,
    pub(super) queue: Queue<Event>,
    pub(super) members: Vec<Member>,
    pub(super) net: Network,
    pub(super) tracker: T,
    pub(super) rng: ChaCha8Rng,
    pub(super) next_conn: u64,
    pub(super) trace: Option<Trace>,
    pub(super) events: u64,
}

impl<T> core::fmt::Debug for World<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl<T: Tracker> World<T> {
    /// Everybody off; each member starts at its time.
    pub fn new(spec: Spec, tracker: T) -> Self {
        let mut world = Self {
            now: Mono::ZERO,
            queue: Queue::new(),
            members: vec![],
            net: Network::default(),
            tracker,
            rng: ChaCha8Rng::seed_from_u64(spec.seed),
            next_conn: 0,
            trace: Some(Trace::default()),
            events: 0,
            spec,
        };
        for (node, member) in (0u32..).zip(&world.spec.members) {
            world.net.add(member.rate);
            world.members.push(Member {
                engine: None,
                life: 0,
                alive: true,
                conns: BTreeMap::new(),
                reqs: BTreeMap::new(),
                serves: BTreeMap::new(),
                next_serve: 0,
                wake: None,
                cpu_free: Mono::ZERO,
                corrupt: false,
                finished: None,
                begun: None,
            });
            world.queue.push(member.start, Event::Start { node, life: 0 });
        }
        world
    }

    /// Does without the trace: large runs are faster.
    pub const fn untraced(mut self) -> Self {
        self.trace = None;
        self
    }

    /// Something will go wrong at a time.
    pub fn schedule(&mut self, at: Mono, node: u32, fault: Fault) {
        self.queue.push(at, Event::Fault { node, fault });
    }

    /// Lets the next thing happen, if it does before `until`.
    pub fn step(&mut self, until: Mono, observer: &mut impl Observer) -> bool {
        if self.queue.next_at().is_none_or(|at| at > until) {
            return false;
        }
        let Some((at, event)) = self.queue.pop() else { return false };
        self.now = at;
        self.events += 1;
        self.happen(event, observer);
        true
    }

    /// Runs until every living node is complete, or until `until`. Whether all are.
    pub fn run_to_completion(&mut self, until: Mono, observer: &mut impl Observer) -> bool {
        let mut open = true;
        while open && self.step(until, observer) {
            open = self.events.is_multiple_of(64) || self.queue.next_at().is_none();
            open = !open || self.unfinished().next().is_some();
        }
        self.unfinished().next().is_none()
    }

    /// Runs until `until`.
    pub fn run_until(&mut self, until: Mono, observer: &mut impl Observer) {
        while self.step(until, observer) {}
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event, observer: &mut impl Observer) {
        match event {
            Event::Start { node, life } => self.start(node, life, observer),
            Event::JoinAsked { node, life } => self.join_asked(node, life),
            Event::TrackerAsked { node, life, want } => self.tracker_asked(node, life, want),
            Event::Tell { node, life, input } => {
                if self.lives(node, life) {
                    self.tell(node, input, observer);
                }
            }
            Event::Message { conn, from, to, input } => {
                let over = match &input {
                    Input::Ended { req, .. } => self.members[to as usize].reqs.remove(req).is_none(),
                    _ => false,
                };
                if !over && self.is_conn(to, from, conn) {
                    self.tell(to, input, observer);
                }
            }
            Event::Ask { conn, from, to, req, choice } => self.asked(conn, from, to, req, choice, observer),
            Event::Withdraw { conn, from, to, req } => self.withdrawn(conn, from, to, req, observer),
            Event::DialArrived { from, life, to } => self.dial_arrived(from, life, to),
            Event::Established { from, from_life, to, to_life } => {
                self.established((from, from_life), (to, to_life), observer);
            }
            Event::Gone { conn, node, peer } => self.gone(conn, node, peer, observer),
            Event::Wake { node, life } => {
                if self.lives(node, life) {
                    self.members[node as usize].wake = None;
                    self.tell(node, Input::Tick, observer);
                }
            }
            Event::Turn { node } => self.take_turn(node, observer),
            Event::AllSent { from, life, serve } => {
                if self.lives(from, life) && self.members[from as usize].serves.remove(&serve).is_some() {
                    self.tell(from, Input::Served { serve, complete: true }, observer);
                }
            }
            Event::Arrived { flow, unit, to, life, corrupt, last } => {
                self.arrived(flow, unit, (to, life), corrupt, last, observer);
            }
            Event::Fault { node, fault } => self.fail(node, fault, observer),
        }
    }

    /// Hands an input to a member's engine, and does what it then says.
    pub(super) fn tell(&mut self, node: u32, input: Input, observer: &mut impl Observer) {
        let now = self.now;
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(engine) = &mut self.members[node as usize].engine else { return };
            if let Some(trace) = &mut self.trace {
                trace.input(now, node, &input);
            }
            engine.handle_input(Now::mono(now), input.clone());
            observer.input(now, node, engine, &input);
            while let Some(output) = self.members[node as usize].engine.as_mut().and_then(Engine::poll_output) {
                if let Some(trace) = &mut self.trace {
                    trace.output(node, &output);
                }
                if let Some(engine) = &self.members[node as usize].engine {
                    observer.output(now, node, engine, &output);
                }
                self.carry_out(node, output, &mut inputs);
            }
        }
        self.set_wake(node);
    }

    fn set_wake(&mut self, node: u32) {
        let member = &mut self.members[node as usize];
        let Some((at, _)) = member.engine.as_ref().and_then(Engine::poll_timeout) else { return };
        if member.wake.is_none_or(|wake| at < wake) {
            member.wake = Some(at);
            self.queue.push(at.max(self.now), Event::Wake { node, life: member.life });
        }
    }

    pub(super) fn lives(&self, node: u32, life: u32) -> bool {
        self.members.get(node as usize).is_some_and(|member| member.alive && member.life == life)
    }

    /// A number from nothing to `most`.
    pub(super) fn chance(&mut self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.rng.next_u64() % most }
    }

    /// All units of the image.
    pub(super) fn whole(&self) -> Run {
        Run { first: 0, count: self.spec.image.units.total() }
    }

    pub(super) const fn is_head(node: u32) -> bool {
        node == 0
    }

    pub(super) const fn peer(node: u32) -> PeerIx {
        PeerIx(node)
    }
}
