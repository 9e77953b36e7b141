//! Links: each member's own, full duplex. A transfer goes through in quanta of one unit: the sender's link serves its flows
//! in turn, a flow waits while two of its quanta are not delivered, and the receiver's link takes what arrives in order.
//! So no link ever carries more than its rate, none idles while a flow could use it, and flows share evenly.

use std::collections::{BTreeMap, VecDeque};

use crate::swarm::{ReqId, ServeId};
use crate::time::Mono;

/// Undelivered quanta at which a flow waits.
const WINDOW: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) serve: ServeId,
    pub(super) req: ReqId,
    next: u32,
    pub(super) end: u32,
    in_air: u8,
    queued: bool,
}

#[derive(Debug)]
struct Link {
    rate: u64,
    up_free: Mono,
    down_free: Mono,
    turn: VecDeque<FlowId>,
    /// A `Turn` event is under way for it.
    scheduled: bool,
    sent: u64,
    received: u64,
}

/// A quantum on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantum {
    pub(super) flow: FlowId,
    pub(super) unit: u32,
    /// When the sender's link has carried it.
    pub(super) sent: Mono,
    /// When the receiver's link has, without latency.
    pub(super) received: Mono,
    /// The last of its flow.
    pub(super) last: bool,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    links: Vec<Link>,
    flows: BTreeMap<FlowId, Flow>,
    made: u64,
}

fn carry(bytes: u32, rate: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1))).unwrap_or(u64::MAX / 4)
}

impl Network {
    pub(super) fn add(&mut self, rate: u64) {
        let (up_free, down_free) = (Mono::ZERO, Mono::ZERO);
        self.links.push(Link {
            rate,
            up_free,
            down_free,
            turn: VecDeque::new(),
            scheduled: false,
            sent: 0,
            received: 0,
        });
    }

    pub(super) fn set_rate(&mut self, node: u32, rate: u64) {
        self.links[node as usize].rate = rate;
    }

    pub(super) fn stall(&mut self, node: u32, until: Mono) {
        let link = &mut self.links[node as usize];
        link.up_free = link.up_free.max(until);
        link.down_free = link.down_free.max(until);
    }

    pub(super) fn sent(&self, node: u32) -> u64 {
        self.links[node as usize].sent
    }

    pub(super) fn received(&self, node: u32) -> u64 {
        self.links[node as usize].received
    }

    pub(super) fn flow(&self, flow: FlowId) -> Option<&Flow> {
        self.flows.get(&flow)
    }

    /// The flow that serves this request of this member.
    pub(super) fn flow_of(&self, from: u32, serve: ServeId) -> Option<FlowId> {
        self.flows.iter().find(|(_, flow)| flow.from == from && flow.serve == serve).map(|(&id, _)| id)
    }

    pub(super) fn begin(
        &mut self,
        from: u32,
        to: u32,
        serve: ServeId,
        req: ReqId,
        units: core::ops::Range<u32>,
    ) -> FlowId {
        self.made += 1;
        let id = FlowId(self.made);
        let flow = Flow { from, to, serve, req, next: units.start, end: units.end, in_air: 0, queued: true };
        self.flows.insert(id, flow);
        self.links[from as usize].turn.push_back(id);
        id
    }

    pub(super) fn end(&mut self, id: FlowId) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        self.links[flow.from as usize].turn.retain(|&other| other != id);
        Some(flow)
    }

    /// Ends every flow from or to a member; those that it received, so that their senders can be told.
    pub(super) fn end_all_of(&mut self, node: u32, other: Option<u32>) -> Vec<Flow> {
        let between = |flow: &Flow| {
            other.is_none_or(|other| flow.from == other || flow.to == other) && (flow.from == node || flow.to == node)
        };
        let ids: Vec<FlowId> = self.flows.iter().filter(|(_, flow)| between(flow)).map(|(&id, _)| id).collect();
        ids.into_iter().filter_map(|id| self.end(id)).collect()
    }

    /// When this link should be given its next turn; `None` if it has nothing to send or waits for one already.
    pub(super) fn wants_turn(&mut self, node: u32, now: Mono) -> Option<Mono> {
        let link = &mut self.links[node as usize];
        if link.scheduled || link.turn.is_empty() {
            return None;
        }
        link.scheduled = true;
        Some(link.up_free.max(now))
    }

    /// The link sends one quantum, if it may by now.
    pub(super) fn turn(&mut self, node: u32, now: Mono, len_of: impl Fn(u32) -> u32) -> Option<Quantum> {
        let link = &mut self.links[node as usize];
        link.scheduled = false;
        if link.up_free > now {
            return None;
        }
        let id = link.turn.pop_front()?;
        let flow = self.flows.get_mut(&id)?;
        let unit = flow.next;
        let bytes = len_of(unit);
        let sent = Mono(now.0 + carry(bytes, link.rate));
        link.up_free = sent;
        link.sent += u64::from(bytes);
        flow.next += 1;
        flow.in_air += 1;
        let last = flow.next >= flow.end;
        flow.queued = !last && flow.in_air < WINDOW;
        if flow.queued {
            link.turn.push_back(id);
        }
        let into = &mut self.links[flow.to as usize];
        let received = Mono((into.down_free.max(now).0 + carry(bytes, into.rate)).max(sent.0));
        into.down_free = received;
        into.received += u64::from(bytes);
        Some(Quantum { flow: id, unit, sent, received, last })
    }

    /// A quantum was delivered: its flow may go on. The sender's link, if it may have to be given a turn.
    pub(super) fn delivered(&mut self, id: FlowId) -> Option<u32> {
        let flow = self.flows.get_mut(&id)?;
        flow.in_air -= 1;
        if flow.queued || flow.next >= flow.end {
            return None;
        }
        flow.queued = true;
        self.links[flow.from as usize].turn.push_back(id);
        Some(flow.from)
    }
}
