//! Does what engines say, as the network shell of a real member does.

use std::collections::VecDeque;

use super::event::Event;
use super::exact::Through;
use super::flows::{Flow, FlowId};
use super::link::Piece;
use super::member::{Member, Serving};
use super::world::{IMAGE, World};
use super::{Observer, Tracker, Transfer};
use crate::swarm::{
    Candidate, Choice, CloseReason, End, Event as Said, Input, Output, PeerIx, PeerKind, PeerMessage, RefuseReason,
    ReqId, ServeId,
};

impl<T: Tracker> World<T> {
    pub(super) fn carry_out(&mut self, node: u32, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Dial { peer } => self.dial(node, peer.0),
            Output::Close { peer, reason } => self.close(node, peer.0, reason, inputs),
            Output::Fetch { req, peer, choice, .. } => self.fetch(node, req, peer.0, choice, inputs),
            Output::Cancel { req } => self.cancel(node, req, inputs),
            Output::Serve { serve, run, .. } => self.serve(node, serve, run),
            Output::Break(serve) => self.break_off(node, serve, inputs),
            Output::Refuse { serve, reason } => self.refuse(node, serve, reason),
            Output::Send { peer, message } => {
                let input = Input::Message { peer: Self::peer(node), message };
                self.send(node, peer.0, |conn, to| Event::Message { conn, from: node, to, input });
            }
            Output::AskTracker { want } => {
                let (at, life) = (self.now + self.spec.links.latency, self.members[node as usize].life);
                self.queue.push(at, Event::TrackerAsked { node, life, want });
            }
            // A good copy stays; a corrupting member's shell lies about its own.
            Output::Recheck { .. } => {}
            Output::Event(event) => self.said(node, &event, inputs),
        }
    }

    fn said(&mut self, node: u32, event: &Said, inputs: &mut VecDeque<Input>) {
        match event {
            Said::PagesComplete { image } if !self.spec.is_head(node) => {
                inputs.push_back(Input::Table { image: *image, lens: self.spec.image.lens.clone() });
            }
            Said::Complete { .. } => self.complete(node),
            Said::Covered { .. } => drop(self.covered.get_or_insert(self.now)),
            _ => {}
        }
    }

    fn complete(&mut self, node: u32) {
        let member = &mut self.members[node as usize];
        if member.finished.is_none() && !self.spec.is_head(node) {
            member.finished = Some(self.now);
            self.open -= u32::from(self.is_awaited(node));
        }
    }

    fn fetch(&mut self, node: u32, req: ReqId, peer: u32, choice: Choice, inputs: &mut VecDeque<Input>) {
        if self.send(node, peer, |conn, to| Event::Ask { conn, from: node, to, req, choice }) {
            self.members[node as usize].reqs.push((req, peer));
        } else {
            inputs.push_back(Input::Ended { req, end: End::PeerGone });
        }
    }

    fn cancel(&mut self, node: u32, req: ReqId, inputs: &mut VecDeque<Input>) {
        let Some(peer) = self.members[node as usize].take_req(req) else { return };
        inputs.push_back(Input::Ended { req, end: End::Cancelled });
        self.send(node, peer, |conn, to| Event::Withdraw { conn, from: node, to, req });
    }

    /// A message over a connection has come.
    pub(super) fn heard(&mut self, conn: u64, from: u32, to: u32, input: Input, observer: &mut impl Observer) {
        if !self.is_conn(to, from, conn) {
            return;
        }
        if let Input::Ended { req, .. } = &input
            && self.members[to as usize].take_req(*req).is_none()
        {
            return;
        }
        self.tell(to, input, observer);
    }

    pub(super) fn asked(
        &mut self,
        conn: u64,
        from: u32,
        to: u32,
        req: ReqId,
        choice: Choice,
        observer: &mut impl Observer,
    ) {
        if !self.is_conn(to, from, conn) {
            return;
        }
        let member = &mut self.members[to as usize];
        if member.vices.mute {
            return;
        }
        member.next_serve += 1;
        let serve = ServeId(member.next_serve);
        let rarest = matches!(choice, Choice::Rarest { .. });
        member.serves.push(Serving { serve, asker: from, req, rarest, flow: None });
        self.tell(to, Input::Asked { peer: PeerIx(from), serve, image: IMAGE, choice }, observer);
    }

    pub(super) fn withdrawn(&mut self, conn: u64, from: u32, to: u32, req: ReqId, observer: &mut impl Observer) {
        if !self.is_conn(to, from, conn) {
            return;
        }
        let mut serves = self.members[to as usize].serves.iter();
        let Some(serving) = serves.find(|serving| serving.asker == from && serving.req == req) else { return };
        let serve = serving.serve;
        if let Some(Serving { flow: Some(flow), .. }) = self.members[to as usize].take_serving(serve) {
            self.end_flow(flow);
        }
        self.tell(to, Input::Served { serve, complete: false }, observer);
    }

    fn serve(&mut self, node: u32, serve: ServeId, run: crate::image::Run) {
        let Some(&mut Serving { asker, req, rarest, .. }) = self.members[node as usize].serving(serve) else { return };
        // The header of the stream that the units come on: it is not overtaken by them.
        let input = Input::Assigned { req, run };
        if rarest && let Some(conn) = self.members[node as usize].conns.get(asker).map(|conn| conn.id) {
            let at = self.now.max(self.dark_between(node, asker)) + self.spec.links.latency;
            self.queue.push(at, Event::Message { conn, from: node, to: asker, input });
        }
        let to_life = self.members[asker as usize].life;
        let ready = Flow::window(self.net.crosses(node, asker));
        let (next, end, offset) = (run.first, run.end(), 0);
        let flow = self.net.flows.insert(Flow { from: node, to: asker, to_life, serve, req, next, offset, end, ready });
        if let Some(serving) = self.members[node as usize].serving(serve) {
            serving.flow = Some(flow);
        }
        match &mut self.exact {
            Some(exact) => exact.begin(flow, &self.net.flows, &self.spec.image, self.now),
            None => {
                self.net.begin(node, flow);
                self.give_turn(node);
            }
        }
    }

    /// A transfer is broken off.
    pub(super) fn end_flow(&mut self, flow: FlowId) {
        if let Some(exact) = &mut self.exact {
            exact.end(flow, self.now);
        }
        self.net.end(flow);
    }

    /// Where rates are exact: units have gone through.
    pub(super) fn go_through(&mut self) {
        let now = self.now;
        let Some(exact) = self.exact.as_mut().filter(|exact| exact.next == now) else { return };
        for Through { flow, unit, last } in exact.through(now, &mut self.net.flows, &self.spec.image) {
            let Some(&Flow { from, serve, .. }) = self.net.flows.get(flow) else { continue };
            let Member { life, vices, .. } = &self.members[from as usize];
            let (life, corrupt) = (*life, vices.corrupt);
            self.queue.push(now + self.spec.links.latency, Event::Arrived { flow, unit, corrupt, last });
            if last {
                self.queue.push(now, Event::AllSent { from, life, serve });
            }
        }
    }

    fn refuse(&mut self, node: u32, serve: ServeId, reason: RefuseReason) {
        let Some(Serving { asker, req, .. }) = self.members[node as usize].take_serving(serve) else { return };
        let end = match reason {
            RefuseReason::Busy => End::Busy,
            RefuseReason::NotHeld => End::Refused,
        };
        self.send(node, asker, |conn, to| Event::Message { conn, from: node, to, input: Input::Ended { req, end } });
    }

    /// The sender resets the stream of a transfer.
    fn break_off(&mut self, node: u32, serve: ServeId, inputs: &mut VecDeque<Input>) {
        let Some(Serving { asker, req, flow, .. }) = self.members[node as usize].take_serving(serve) else { return };
        if let Some(flow) = flow {
            self.end_flow(flow);
        }
        let input = Input::Ended { req, end: End::PeerGone };
        self.send(node, asker, |conn, to| Event::Message { conn, from: node, to, input });
        inputs.push_back(Input::Served { serve, complete: false });
    }

    fn give_turn(&mut self, node: u32) {
        if let Some(at) = self.net.wants_turn(node, self.now) {
            self.queue.push(at, Event::Turn { node });
        }
    }

    pub(super) fn take_turn(&mut self, node: u32, observer: &mut impl Observer) {
        if let Some(mut piece) = self.net.turn(node, self.now, &self.spec.image) {
            let member = &self.members[node as usize];
            piece.corrupt = member.vices.corrupt;
            if piece.ends_flow
                && let Some(flow) = self.net.flows.get(piece.flow)
            {
                let (serve, life) = (flow.serve, member.life);
                self.queue.push(piece.sent, Event::AllSent { from: node, life, serve });
            }
            match self.net.leave_rack(&mut piece) {
                Some(at) => self.queue.push(at, Event::Hop(Box::new(piece))),
                None => self.land(piece, observer),
            }
        }
        self.give_turn(node);
    }

    pub(super) fn hop(&mut self, mut piece: Piece, observer: &mut impl Observer) {
        let at = self.net.enter_rack(&mut piece, self.now);
        if at > self.now {
            self.queue.push(at, Event::Land(Box::new(piece)));
        } else {
            self.land(piece, observer);
        }
    }

    /// A piece's first byte is at the receiver's link.
    pub(super) fn land(&mut self, mut piece: Piece, observer: &mut impl Observer) {
        let life = self.net.flows.get(piece.flow).map(|flow| flow.to_life);
        let alive = life.is_some_and(|life| self.lives(piece.to, life));
        self.net.take_in(&mut piece, self.now, alive);
        let Piece { flow, from, to, unit, bytes, begun, sent, left_rack, entered_rack, received, .. } = piece;
        observer.transfer(&Transfer { from, to, unit, bytes, begun, sent, left_rack, entered_rack, received });
        if piece.ends_unit && life.is_some() {
            let (corrupt, last) = (piece.corrupt, piece.ends_flow);
            self.queue.push(received + self.spec.links.latency, Event::Arrived { flow, unit, corrupt, last });
        }
        if begun < self.now {
            self.give_turn(from);
        }
    }

    pub(super) fn arrived(&mut self, id: FlowId, unit: u32, corrupt: bool, last: bool, observer: &mut impl Observer) {
        let Some(&Flow { from, to, to_life, req, .. }) = self.net.flows.get(id) else { return }; // broken off meanwhile
        if last {
            self.net.flows.remove(id);
        }
        if !self.lives(to, to_life) || !self.members[to as usize].has_req(req) {
            return;
        }
        let vices = self.members[to as usize].vices;
        if vices.full {
            self.members[to as usize].take_req(req);
            self.send(to, from, |conn, from| Event::Withdraw { conn, from: to, to: from, req });
            return self.tell(to, Input::Ended { req, end: End::StoreFull }, observer);
        }
        let corrupt = corrupt || (vices.flips > 0 && self.chance(u64::from(vices.flips)) == 0);
        if !corrupt {
            observer.verified(self.now, to, unit);
        }
        self.tell(to, if corrupt { Input::Corrupt { req, unit } } else { Input::Verified { req, unit } }, observer);
        if (corrupt || last) && self.members[to as usize].take_req(req).is_some() {
            self.tell(to, Input::Ended { req, end: End::Done }, observer);
        }
        if corrupt && !last {
            self.send(to, from, |conn, from| Event::Withdraw { conn, from: to, to: from, req });
        }
    }

    fn close(&mut self, node: u32, peer: u32, reason: CloseReason, inputs: &mut VecDeque<Input>) {
        if reason == CloseReason::Full {
            let others = self.members[node as usize].conns.peers().iter().copied();
            let named: Vec<_> = others
                .filter(|&other| other != peer && !self.spec.is_head(other))
                .take(2)
                .map(|other| Candidate {
                    peer: PeerIx(other),
                    kind: PeerKind::Node,
                    same_rack: self.spec.same_rack(peer, other),
                })
                .collect();
            let full = Input::Message { peer: Self::peer(node), message: PeerMessage::Full };
            self.send(node, peer, |conn, to| Event::Message { conn, from: node, to, input: Input::Candidates(named) });
            self.send(node, peer, |conn, to| Event::Message { conn, from: node, to, input: full });
        }
        self.hang_up(node, peer, inputs);
    }
}
