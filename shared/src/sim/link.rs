//! Links, full duplex: each member's own, and each rack's to the core of the network.
//!
//! A transfer goes through in small pieces. A sender's link serves its flows in turn; a flow waits while two of its pieces
//! (four on a path through the core) have not been taken in by the receiver, whose link takes what arrives in order; so does a rack's uplink. So no link ever
//! carries more than its rate, none idles while a flow could use it, and flows share it evenly: max-min fair rates, as
//! closely as the size of a piece allows (tested against `exact.rs`).

use std::collections::VecDeque;

use super::flows::{FlowId, Flows, NEVER};
use super::{ImageSpec, Spec};
use crate::time::Mono;

/// A piece is at most this part of a run, so that the runs that a link carries at a time advance evenly.
const PIECES_PER_RUN: u64 = 4;
const PIECE_LEN: (u64, u64) = (16 << 10, 1 << 20);

/// One direction of a link.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Bytes a second; 0 for no limit.
    rate: u64,
    free: Mono,
    bytes: u64,
}

impl Lane {
    const fn new(rate: u64) -> Self {
        Self { rate, free: Mono::ZERO, bytes: 0 }
    }

    /// Carries bytes that come at `at`: from when, and until when.
    fn carry(&mut self, bytes: u32, at: Mono) -> (Mono, Mono) {
        self.bytes += u64::from(bytes);
        let begun = self.free.max(at);
        let nanos = (u64::from(bytes) * 1_000_000_000).checked_div(self.rate).unwrap_or(0);
        self.free = Mono(begun.0 + nanos);
        (begun, self.free)
    }

    fn stall(&mut self, until: Mono) {
        self.free = self.free.max(until);
    }
}

#[derive(Debug)]
struct Link {
    up: Lane,
    down: Lane,
    /// What its processor can send and receive together.
    cpu: Lane,
    rack: u16,
    turn: VecDeque<FlowId>,
    /// The `Turn` event that counts.
    turn_at: Mono,
}

/// A piece of a unit on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) flow: FlowId,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) unit: u32,
    pub(super) bytes: u32,
    /// When the sender's link began to carry it.
    pub(super) begun: Mono,
    /// When the sender's link, and then each link further on, has carried it.
    pub(super) sent: Mono,
    pub(super) left_rack: Mono,
    pub(super) entered_rack: Mono,
    pub(super) received: Mono,
    /// The last of its unit; the last of its flow.
    pub(super) ends_unit: bool,
    pub(super) ends_flow: bool,
    /// Its bytes are wrong.
    pub(super) corrupt: bool,
}

#[derive(Debug)]
pub(super) struct Network {
    links: Vec<Link>,
    racks: Vec<(Lane, Lane)>,
    pub(super) flows: Flows,
    piece_len: u32,
}

impl Network {
    pub(super) fn new(spec: &Spec) -> Self {
        let link = |member: &super::MemberSpec| Link {
            up: Lane::new(member.rate),
            down: Lane::new(member.rate),
            cpu: Lane::new(member.cpu),
            rack: member.rack,
            turn: VecDeque::new(),
            turn_at: NEVER,
        };
        let piece = (spec.image.units.blob_len / 1024 / PIECES_PER_RUN).clamp(PIECE_LEN.0, PIECE_LEN.1);
        Self {
            links: spec.members.iter().map(link).collect(),
            racks: spec.rack_rates.iter().map(|&rate| (Lane::new(rate), Lane::new(rate))).collect(),
            flows: Flows::default(),
            piece_len: u32::try_from(piece).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn set_rate(&mut self, node: u32, rate: u64) {
        let link = &mut self.links[node as usize];
        (link.up.rate, link.down.rate) = (rate, rate);
    }

    pub(super) fn stall(&mut self, node: u32, until: Mono) {
        let link = &mut self.links[node as usize];
        link.up.stall(until);
        link.down.stall(until);
    }

    pub(super) fn stall_rack(&mut self, rack: u16, until: Mono) {
        if let Some((out, into)) = self.racks.get_mut(usize::from(rack)) {
            out.stall(until);
            into.stall(until);
        }
    }

    pub(super) fn sent(&self, node: u32) -> u64 {
        self.links[node as usize].up.bytes
    }

    pub(super) fn received(&self, node: u32) -> u64 {
        self.links[node as usize].down.bytes
    }

    /// Bytes that entered racks from outside.
    pub(super) fn crossed(&self) -> u64 {
        self.racks.iter().map(|(_, into)| into.bytes).sum()
    }

    /// Whether a path leads through the core of the network, and racks are told apart at all.
    pub(super) fn crosses(&self, from: u32, to: u32) -> bool {
        !self.racks.is_empty() && self.links[from as usize].rack != self.links[to as usize].rack
    }

    /// A flow begins; its sender may have to be given a turn.
    pub(super) fn begin(&mut self, from: u32, id: FlowId) {
        self.links[from as usize].turn.push_back(id);
    }

    /// A flow is broken off.
    pub(super) fn end(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.remove(id) {
            self.links[flow.from as usize].turn.retain(|&other| other != id);
        }
    }

    /// When this link should be given a turn, if that is not planned yet.
    pub(super) fn wants_turn(&mut self, node: u32, now: Mono) -> Option<Mono> {
        let link = &mut self.links[node as usize];
        let ready = link.turn.iter().filter_map(|&id| self.flows.get(id)).map(|flow| flow.ready[0]).min()?;
        let at = ready.max(link.up.free).max(link.cpu.free).max(now);
        (ready < NEVER && at < link.turn_at).then(|| {
            link.turn_at = at;
            at
        })
    }

    /// The link sends one piece, if it may by now.
    pub(super) fn turn(&mut self, node: u32, now: Mono, image: &ImageSpec) -> Option<Piece> {
        let link = &mut self.links[node as usize];
        if link.turn_at != now {
            return None; // another turn was planned since
        }
        link.turn_at = NEVER;
        if link.up.free.max(link.cpu.free) > now {
            return None;
        }
        let place = link.turn.iter().position(|&id| self.flows.get(id).is_some_and(|flow| flow.ready[0] <= now))?;
        let id = link.turn.remove(place)?;
        let flow = self.flows.get_mut(id)?;
        let unit = flow.next;
        let rest = image.len_of(unit) - flow.offset;
        let ends_unit = rest <= self.piece_len;
        let bytes = rest.min(self.piece_len);
        (flow.next, flow.offset) = if ends_unit { (unit + 1, 0) } else { (unit, flow.offset + bytes) };
        let ends_flow = flow.next >= flow.end;
        flow.sent();
        if !ends_flow {
            link.turn.push_back(id);
        }
        let sent = link.up.carry(bytes, now).1;
        link.cpu.carry(bytes, now);
        let (from, to) = (node, flow.to);
        let (begun, left_rack, entered_rack, received) = (now, now, now, now);
        let piece = Piece {
            flow: id,
            from,
            to,
            unit,
            bytes,
            begun,
            sent,
            left_rack,
            entered_rack,
            received,
            ends_unit,
            ends_flow,
            corrupt: false,
        };
        Some(piece)
    }

    /// A piece leaves its rack; when its first byte is at the next link, if it goes through the core.
    pub(super) fn leave_rack(&mut self, piece: &mut Piece) -> Option<Mono> {
        if !self.crosses(piece.from, piece.to) {
            return None;
        }
        let rack = self.links[piece.from as usize].rack;
        let (at, done) = match self.racks.get_mut(usize::from(rack)) {
            Some((out, _)) => out.carry(piece.bytes, piece.begun),
            None => (piece.begun, piece.sent), // a head is connected to the core itself
        };
        piece.left_rack = done.max(piece.sent);
        Some(at)
    }

    /// A piece comes to the rack where it belongs; when its first byte is at the receiver's link.
    pub(super) fn enter_rack(&mut self, piece: &mut Piece, now: Mono) -> Mono {
        let rack = self.links[piece.to as usize].rack;
        let (at, done) = match self.racks.get_mut(usize::from(rack)) {
            Some((_, into)) => into.carry(piece.bytes, now),
            None => (now, piece.left_rack),
        };
        piece.entered_rack = done.max(piece.left_rack);
        at
    }

    /// The receiver's link takes a piece in, whose first byte is there now.
    pub(super) fn take_in(&mut self, piece: &mut Piece, now: Mono, alive: bool) {
        let into = &mut self.links[piece.to as usize];
        let (_, done) = into.down.carry(piece.bytes, now);
        let (_, digested) = into.cpu.carry(piece.bytes, now);
        piece.received = done.max(digested).max(piece.entered_rack).max(piece.left_rack).max(piece.sent);
        if alive && let Some(flow) = self.flows.get_mut(piece.flow) {
            flow.taken(piece.received);
        }
    }
}
