//! The loop: members, their clocks, and what happens to them.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::event::Event;
use super::exact::Exact;
use super::link::Network;
use super::member::Member;
use super::queue::Queue;
use super::{Fault, Observer, Spec, Trace, Tracker};
use crate::image::Run;
use crate::swarm::{Engine, ImageIx, Input, PeerIx};
use crate::time::{Mono, Now};

/// The one image of a simulation.
pub(super) const IMAGE: ImageIx = ImageIx(0);

/// A simulation under way.
pub struct World<T> {
    pub(super) spec: Spec,
    pub(super) now: Mono,
    pub(super) queue: Queue<Event>,
    pub(super) members: Vec<Member>,
    pub(super) net: Network,
    pub(super) tracker: T,
    pub(super) tracker_dead: bool,
    /// Until when each rack is cut off from the others.
    pub(super) racks_dark: Vec<Mono>,
    pub(super) rng: ChaCha8Rng,
    pub(super) next_conn: u64,
    pub(super) trace: Option<Trace>,
    pub(super) events: u64,
    /// Living nodes that are waited for and are not complete.
    pub(super) open: u32,
    pub(super) covered: Option<Mono>,
    pub(super) exact: Option<Exact>,
    /// What an engine is still to be told; empty between two events.
    inputs: VecDeque<Input>,
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
            queue: Queue::new(events_per_second(&spec)),
            members: spec.members.iter().map(|_| Member::new()).collect(),
            net: Network::new(&spec),
            tracker,
            tracker_dead: false,
            racks_dark: vec![],
            rng: ChaCha8Rng::seed_from_u64(spec.seed),
            next_conn: 0,
            trace: Some(Trace::default()),
            events: 0,
            open: 0,
            covered: None,
            exact: spec.links.exact.then(|| Exact::new(&spec)),
            inputs: VecDeque::new(),
            spec,
        };
        for (node, member) in (0u32..).zip(&world.spec.members) {
            world.queue.push(member.start, Event::Start { node, life: 0 });
            world.open += u32::from(!world.spec.is_head(node) && member.awaited);
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
        if let Some(at) = self.exact.as_mut().and_then(|exact| exact.settle(at)) {
            self.queue.push(at, Event::Through);
        }
        true
    }

    /// Runs until every living node is complete, or until `until`. Whether all are.
    pub fn run_to_completion(&mut self, until: Mono, observer: &mut impl Observer) -> bool {
        while self.open > 0 && self.step(until, observer) {}
        self.open == 0
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
            Event::Message { conn, from, to, input } => self.heard(conn, from, to, input, observer),
            Event::Ask { conn, from, to, req, choice } => self.asked(conn, from, to, req, choice, observer),
            Event::Withdraw { conn, from, to, req } => self.withdrawn(conn, from, to, req, observer),
            Event::DialArrived { from, life, to } => self.dial_arrived(from, life, to),
            Event::Established { from, from_life, to, to_life } => {
                self.established((from, from_life), (to, to_life), observer);
            }
            Event::Gone { conn, node, peer } => self.gone(conn, node, peer, observer),
            Event::Wake { node, life } => self.wake(node, life, observer),
            Event::Turn { node } => self.take_turn(node, observer),
            Event::Through => self.go_through(),
            Event::Hop(piece) => self.hop(*piece, observer),
            Event::Land(piece) => self.land(*piece, observer),
            Event::AllSent { from, life, serve } => {
                if self.lives(from, life) && self.members[from as usize].take_serving(serve).is_some() {
                    self.tell(from, Input::Served { serve, complete: true }, observer);
                }
            }
            Event::Arrived { flow, unit, corrupt, last } => self.arrived(flow, unit, corrupt, last, observer),
            Event::Fault { node, fault } => self.fail(node, fault, observer),
        }
    }

    fn wake(&mut self, node: u32, life: u32, observer: &mut impl Observer) {
        let member = &mut self.members[node as usize];
        if !(member.alive && member.life == life && member.wake == Some(self.now)) {
            return;
        }
        member.wake = None;
        let due = member.engine.as_ref().and_then(Engine::poll_timeout).is_some_and(|(at, _)| at <= self.now);
        if due { self.tell(node, Input::Tick, observer) } else { self.set_wake(node) }
    }

    /// Hands an input to a member's engine, and does what it then says.
    pub(super) fn tell<O: Observer>(&mut self, node: u32, input: Input, observer: &mut O) {
        let now = self.now;
        let mut inputs = core::mem::take(&mut self.inputs);
        inputs.push_back(input);
        while let Some(input) = inputs.pop_front() {
            let Some(engine) = &mut self.members[node as usize].engine else { break };
            if let Some(trace) = &mut self.trace {
                trace.input(now, node, &input);
            }
            if O::WATCHES {
                engine.handle_input(Now::mono(now), input.clone());
                observer.input(now, node, engine, &input);
            } else {
                engine.handle_input(Now::mono(now), input);
            }
            while let Some(engine) = &mut self.members[node as usize].engine
                && let Some(output) = engine.poll_output()
            {
                if let Some(trace) = &mut self.trace {
                    trace.output(node, &output);
                }
                if O::WATCHES {
                    observer.output(now, node, engine, &output);
                }
                self.carry_out(node, output, &mut inputs);
            }
        }
        inputs.clear();
        self.inputs = inputs;
        self.set_wake(node);
    }

    fn set_wake(&mut self, node: u32) {
        let member = &mut self.members[node as usize];
        let Some((at, _)) = member.engine.as_ref().and_then(Engine::poll_timeout) else { return };
        if member.wake.is_none_or(|wake| at < wake) {
            let at = at.max(self.now);
            member.wake = Some(at);
            self.queue.push(at, Event::Wake { node, life: member.life });
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

    pub(super) const fn peer(node: u32) -> PeerIx {
        PeerIx(node)
    }
}

/// A rough guess, for the queue: a dozen events for each piece of a run that all links carry.
fn events_per_second(spec: &Spec) -> u64 {
    let rates: u128 = spec.members.iter().map(|member| u128::from(member.rate)).sum();
    let run = u128::from(spec.image.units.blob_len / 1024).clamp(64 << 10, 4 << 20);
    u64::try_from(rates * 48 / run).unwrap_or(u64::MAX)
}
