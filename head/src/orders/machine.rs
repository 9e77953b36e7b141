//! Who listens, and which order goes to whom when: pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wulfpack_shared::id::NodeName;
use wulfpack_shared::limits::{LISTEN_MAX, ORDERS_MAX};
use wulfpack_shared::time::{Mono, Now};
use wulfpack_shared::wire::{LISTEN_WAIT_S, Listen, NodeState, Order, OrderKind};

use super::batch::{Batch, Pace, Progress};

/// Batches that are remembered after their end, so that whoever gave them can see it.
const ENDED_KEPT: usize = 32;

/// What happens.
#[derive(Clone, Debug)]
pub enum Input {
    /// An administrator's command.
    Give {
        /// The batch's name, from [`Machine::next_id`].
        id: u64,
        /// To whom.
        nodes: BTreeSet<NodeName>,
        /// What.
        what: OrderKind,
        /// How fast.
        pace: Pace,
    },
    /// A node listens; answered with [`Output::Answer`] for this ticket.
    Listens {
        /// Which.
        node: NodeName,
        /// Names the open request.
        ticket: u64,
        /// What it says.
        listen: Listen,
    },
    /// The node left the cluster, or goes down.
    Leaves(NodeName),
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer the open request.
    Answer {
        /// Which.
        ticket: u64,
        /// With these.
        orders: Vec<Order>,
    },
}

/// An open request.
#[derive(Debug)]
struct Open {
    ticket: u64,
    ends: Mono,
}

#[derive(Debug, Default)]
struct Line {
    state: NodeState,
    open: Option<Open>,
}

/// See the file's head.
#[derive(Debug)]
pub struct Machine {
    nodes: BTreeMap<NodeName, Line>,
    batches: BTreeMap<u64, Batch>,
    next: u64,
    /// How long a request without an order waits on average.
    interval: Duration,
    output: VecDeque<Output>,
}

impl Machine {
    /// A machine whose orders have numbers from here on, and which lets nodes look at what they would get about every `interval`.
    /// Nodes remember numbers across restarts of the head: begin with one that no earlier life can have reached.
    pub fn new(first: u64, interval: Duration) -> Self {
        let (nodes, batches) = (BTreeMap::new(), BTreeMap::new());
        Self { nodes, batches, next: first, interval, output: VecDeque::new() }
    }

    /// The name of the next batch.
    pub const fn next_id(&self) -> u64 {
        self.next
    }

    /// Where a batch stands, if it is remembered.
    pub fn progress(&self, id: u64) -> Option<Progress> {
        self.batches.get(&id).map(|batch| batch.progress(id))
    }

    /// Rises with each change of the batch.
    pub fn version(&self, id: u64) -> Option<u64> {
        self.batches.get(&id).map(Batch::version)
    }

    /// What the node last said that it runs.
    pub fn state(&self, node: &NodeName) -> Option<NodeState> {
        self.nodes.get(node).map(|line| line.state)
    }

    /// How many nodes listen now.
    pub fn listening(&self) -> usize {
        self.nodes.values().filter(|line| line.open.is_some()).count()
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        let now = now.mono;
        match input {
            Input::Give { id, nodes, what, pace } => {
                let mut batch = Batch::new(now, id, nodes, what, pace);
                self.next = id + batch.len().max(1);
                for (node, line) in &self.nodes {
                    if line.open.is_some() {
                        batch.listens(node, &[]);
                    }
                }
                self.batches.insert(id, batch);
                self.forget();
            }
            Input::Listens { node, ticket, listen } => self.listens(now, node, ticket, listen),
            Input::Leaves(node) => {
                if let Some(open) = self.nodes.remove(&node).and_then(|line| line.open) {
                    self.output.push_back(Output::Answer { ticket: open.ticket, orders: vec![] });
                }
                self.batches.values_mut().for_each(|batch| batch.leaves(&node, true));
            }
            Input::Tick => self.tick(now),
        }
        self.pump(now);
    }

    /// What to do next; drain after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When to hand in a tick.
    pub fn poll_timeout(&self, now: Now) -> Option<Mono> {
        let open = self.nodes.values().filter_map(|line| line.open.as_ref()).map(|open| open.ends);
        open.chain(self.batches.values().filter_map(|batch| batch.timeout(now.mono))).min()
    }

    fn listens(&mut self, now: Mono, node: NodeName, ticket: u64, listen: Listen) {
        for done in &listen.done {
            for batch in self.batches.values_mut() {
                if batch.ended(now, &node, done.number, &done.outcome) {
                    break;
                }
            }
        }
        let line = self.nodes.entry(node.clone()).or_default();
        line.state = listen.state;
        if let Some(old) = line.open.take() {
            // The node has another connection: nobody waits at the old one.
            self.output.push_back(Output::Answer { ticket: old.ticket, orders: vec![] });
        }
        let again = self.batches.values_mut().filter_map(|batch| batch.listens(&node, &listen.taken));
        let again: Vec<Order> = again.take(ORDERS_MAX).collect();
        // The node's pause is a random one around its own average; so is this.
        let wait = (self.interval * u32::from(listen.wait_s) / u32::from(LISTEN_WAIT_S)).min(LISTEN_MAX);
        if !again.is_empty() {
            self.output.push_back(Output::Answer { ticket, orders: again });
            self.batches.values_mut().for_each(|batch| batch.leaves(&node, false));
        } else {
            line.open = Some(Open { ticket, ends: now + wait });
        }
    }

    fn tick(&mut self, now: Mono) {
        for batch in self.batches.values_mut() {
            for node in batch.tick(now) {
                if self.nodes.get(&node).is_some_and(|line| line.open.is_some()) {
                    batch.listens(&node, &[]);
                }
            }
        }
    }

    /// Gives out what can be given now, then ends waits whose time is over.
    fn pump(&mut self, now: Mono) {
        let mut given: BTreeMap<NodeName, Vec<Order>> = BTreeMap::new();
        for batch in self.batches.values_mut() {
            while let Some((node, order)) = batch.next(now) {
                given.entry(node).or_default().push(order);
            }
        }
        for (node, orders) in given {
            let Some(open) = self.nodes.get_mut(&node).and_then(|line| line.open.take()) else { continue };
            self.output.push_back(Output::Answer { ticket: open.ticket, orders });
            self.batches.values_mut().for_each(|batch| batch.leaves(&node, false));
        }
        for (node, line) in &mut self.nodes {
            if let Some(open) = line.open.take_if(|open| open.ends <= now) {
                self.output.push_back(Output::Answer { ticket: open.ticket, orders: vec![] });
                self.batches.values_mut().for_each(|batch| batch.leaves(node, false));
            }
        }
    }

    fn forget(&mut self) {
        let ended: Vec<u64> = self.batches.iter().filter(|(_, batch)| batch.is_over()).map(|(id, _)| *id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(ENDED_KEPT)) {
            self.batches.remove(id);
        }
    }
}
