//! Does what engines say, as the network shell of a real member does.

use std::collections::VecDeque;

use super::link::FlowId;
use super::world::{Event, IMAGE, Observer, Serving, Transfer, World};
use super::{Fault, Tracker};
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
            Said::PagesComplete { image } if !Self::is_head(node) => {
                inputs.push_back(Input::Table { image: *image, lens: self.spec.image.lens.clone() });
            }
            Said::Complete { .. } => {
                let now = self.now;
                self.members[node as usize].finished.get_or_insert(now);
            }
            _ => {}
        }
    }

    fn fetch(&mut self, node: u32, req: ReqId, peer: u32, choice: Choice, inputs: &mut VecDeque<Input>) {
        self.members[node as usize].reqs.insert(req, peer);
        let sent = self.send(node, peer, |conn, to| Event::Ask { conn, from: node, to, req, choice });
        if !sent {
            self.members[node as usize].reqs.remove(&req);
            inputs.push_back(Input::Ended { req, end: End::PeerGone });
        }
    }

    fn cancel(&mut self, node: u32, req: ReqId, inputs: &mut VecDeque<Input>) {
        let Some(peer) = self.members[node as usize].reqs.remove(&req) else { return };
        inputs.push_back(Input::Ended { req, end: End::Cancelled });
        self.send(node, peer, |conn, to| Event::Withdraw { conn, from: node, to, req });
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
        member.next_serve += 1;
        let serve = ServeId(member.next_serve);
        member.serves.insert(serve, Serving { asker: from, req });
        self.tell(to, Input::Asked { peer: PeerIx(from), serve, image: IMAGE, choice }, observer);
    }

    pub(super) fn withdrawn(&mut self, conn: u64, from: u32, to: u32, req: ReqId, observer: &mut impl Observer) {
        if !self.is_conn(to, from, conn) {
            return;
        }
        let mut serves = self.members[to as usize].serves.iter();
        let Some((&serve, _)) = serves.find(|(_, serving)| serving.asker == from && serving.req == req) else { return };
        self.stop_serving(to, serve, observer);
    }

    fn stop_serving(&mut self, node: u32, serve: ServeId, observer: &mut impl Observer) {
        self.members[node as usize].serves.remove(&serve);
        if let Some(flow) = self.net.flow_of(node, serve) {
            self.net.end(flow);
        }
        self.tell(node, Input::Served { serve, complete: false }, observer);
    }

    fn serve(&mut self, node: u32, serve: ServeId, run: crate::image::Run) {
        let Some(Serving { asker, req }) = self.members[node as usize].serves.get(&serve).copied() else { return };
        let input = Input::Assigned { req, run };
        self.send(node, asker, |conn, to| Event::Message { conn, from: node, to, input });
        self.net.begin(node, asker, serve, req, run.first..run.end());
        self.give_turn(node);
    }

    fn refuse(&mut self, node: u32, serve: ServeId, reason: RefuseReason) {
        let Some(Serving { asker, req }) = self.members[node as usize].serves.remove(&serve) else { return };
        let end = match reason {
            RefuseReason::Busy => End::Busy,
            RefuseReason::NotHeld => End::Refused,
        };
        self.send(node, asker, |conn, to| Event::Message { conn, from: node, to, input: Input::Ended { req, end } });
    }

    fn give_turn(&mut self, node: u32) {
        if let Some(at) = self.net.wants_turn(node, self.now) {
            self.queue.push(at, Event::Turn { node });
        }
    }

    pub(super) fn take_turn(&mut self, node: u32, observer: &mut impl Observer) {
        let image = &self.spec.image;
        if let Some(quantum) = self.net.turn(node, self.now, |unit| image.len_of(unit))
            && let Some(flow) = self.net.flow(quantum.flow)
        {
            let (to, serve) = (flow.to, flow.serve);
            let bytes = image.len_of(quantum.unit);
            let (begun, sent, received) = (self.now, quantum.sent, quantum.received);
            observer.transfer(&Transfer { from: node, to, unit: quantum.unit, bytes, begun, sent, received });
            let corrupt = self.members[node as usize].corrupt;
            let at = quantum.received + self.spec.links.latency;
            let (life, last) = (self.members[to as usize].life, quantum.last);
            self.queue.push(at, Event::Arrived { flow: quantum.flow, unit: quantum.unit, to, life, corrupt, last });
            if last {
                let life = self.members[node as usize].life;
                self.queue.push(sent, Event::AllSent { from: node, life, serve });
            }
        }
        self.give_turn(node);
    }

    pub(super) fn arrived(
        &mut self,
        id: FlowId,
        unit: u32,
        (to, life): (u32, u32),
        corrupt: bool,
        last: bool,
        observer: &mut impl Observer,
    ) {
        let Some(flow) = self.net.flow(id) else { return }; // cancelled or broken meanwhile
        let (from, req) = (flow.from, flow.req);
        if let Some(sender) = self.net.delivered(id) {
            self.give_turn(sender);
        }
        if last {
            self.net.end(id);
        }
        if !self.lives(to, life) || !self.members[to as usize].reqs.contains_key(&req) {
            return;
        }
        self.tell(to, if corrupt { Input::Corrupt { req, unit } } else { Input::Verified { req, unit } }, observer);
        if (corrupt || last) && self.members[to as usize].reqs.remove(&req).is_some() {
            self.tell(to, Input::Ended { req, end: End::Done }, observer);
        }
        if corrupt && !last {
            self.send(to, from, |conn, from| Event::Withdraw { conn, from: to, to: from, req });
        }
    }

    fn close(&mut self, node: u32, peer: u32, reason: CloseReason, inputs: &mut VecDeque<Input>) {
        if reason == CloseReason::Full {
            let mut others =
                self.members[node as usize].conns.keys().copied().filter(|&other| other != peer && other != 0);
            let named: Vec<_> = others
                .by_ref()
                .take(2)
                .map(|other| Candidate { peer: PeerIx(other), kind: PeerKind::Node, same_rack: true })
                .collect();
            let full = Input::Message { peer: Self::peer(node), message: PeerMessage::Full };
            self.send(node, peer, |conn, to| Event::Message { conn, from: node, to, input: Input::Candidates(named) });
            self.send(node, peer, |conn, to| Event::Message { conn, from: node, to, input: full });
        }
        self.hang_up(node, peer, inputs);
    }

    pub(super) fn fail(&mut self, node: u32, fault: Fault, observer: &mut impl Observer) {
        let life = self.members[node as usize].life;
        match fault {
            Fault::Die => self.die(node),
            Fault::Return => {
                if !self.members[node as usize].alive {
                    self.members[node as usize].alive = true;
                    self.queue.push(self.now, Event::Start { node, life });
                }
            }
            Fault::Stall(millis) => {
                self.net.stall(node, self.now + core::time::Duration::from_millis(u64::from(millis)))
            }
            Fault::Rate(rate) => self.net.set_rate(node, rate),
            Fault::Corrupt(corrupt) => self.members[node as usize].corrupt = corrupt,
            Fault::Boast => {
                let run = self.whole();
                self.members[node as usize].corrupt = true;
                self.tell(node, Input::Held { image: IMAGE, run }, observer);
            }
        }
    }
}
