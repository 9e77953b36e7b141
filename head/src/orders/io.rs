//! The orders of a running head: a handle for whoever gives them and for the requests of nodes that listen, and the task that
//! keeps the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};
use wulfpack_shared::id::NodeName;
use wulfpack_shared::net::clock::{ClusterClock, MonoClock};
use wulfpack_shared::time::Now;
use wulfpack_shared::wire::{Listen, NodeState, Order, OrderKind};

use super::batch::{Pace, Progress};
use super::machine::{Input, Machine, Output};

/// Sleep while nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// A handle; clones share it.
#[derive(Clone, Debug)]
pub struct OrdersHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    clock: MonoClock,
    /// What is due next may have changed.
    changed: Notify,
    /// Changes with every input.
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    open: BTreeMap<u64, oneshot::Sender<Vec<Order>>>,
    tickets: u64,
}

impl OrdersHandle {
    /// No orders, and nobody listens; nodes look at what they would get about every `interval`. The clock makes the numbers of this life
    /// of the head differ from those of all before.
    pub fn new(clock: &ClusterClock, interval: Duration) -> Self {
        let machine = Machine::new(clock.now().0.saturating_mul(1000), interval);
        let inner = Mutex::new(Inner { machine, open: BTreeMap::new(), tickets: 0 });
        let (changed, version) = (Notify::new(), watch::Sender::new(0));
        Self(Arc::new(Shared { inner, clock: MonoClock::start(), changed, version }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each input leaves the machine whole, so a panic elsewhere does not spoil it.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now::mono(self.0.clock.now())
    }

    fn feed(&self, inner: &mut Inner, input: Input) {
        inner.machine.handle_input(self.now(), input);
        while let Some(Output::Answer { ticket, orders }) = inner.machine.poll_output() {
            if let Some(open) = inner.open.remove(&ticket) {
                // A request that ended meanwhile takes no order: the node asks again, and says that it has none.
                drop(open.send(orders));
            }
        }
        self.0.changed.notify_one();
        self.0.version.send_modify(|version| *version += 1);
    }

    /// Gives an order to these nodes. The number is for [`progress`](Self::progress).
    pub fn give(&self, nodes: BTreeSet<NodeName>, what: OrderKind, pace: Pace) -> u64 {
        let mut inner = self.lock();
        let id = inner.machine.next_id();
        self.feed(&mut inner, Input::Give { id, nodes, what, pace });
        id
    }

    /// Where a batch stands; `None` if this head does not know it.
    pub fn progress(&self, id: u64) -> Option<Progress> {
        self.lock().machine.progress(id)
    }

    /// Like [`progress`](Self::progress), once it is newer than version `since`, or `wait` is over.
    pub async fn progress_after(&self, id: u64, since: u64, wait: Duration) -> Option<Progress> {
        let mut changes = self.0.version.subscribe();
        let newer = changes.wait_for(|_| self.lock().machine.version(id).is_none_or(|version| version > since));
        // The sender lives as long as this handle.
        let _waited = tokio::time::timeout(wait, newer).await;
        self.progress(id)
    }

    /// What the node last said that it runs.
    pub fn state(&self, node: &NodeName) -> Option<NodeState> {
        self.lock().machine.state(node)
    }

    /// How many nodes listen now.
    pub fn listening(&self) -> usize {
        self.lock().machine.listening()
    }

    /// Waits until there is something for the node, or its patience is over.
    pub async fn listen(&self, node: NodeName, listen: Listen) -> Vec<Order> {
        let (answer, answered) = oneshot::channel();
        {
            let mut inner = self.lock();
            inner.tickets += 1;
            let ticket = inner.tickets;
            inner.open.insert(ticket, answer);
            self.feed(&mut inner, Input::Listens { node, ticket, listen });
        }
        answered.await.unwrap_or_default()
    }

    /// The node is no longer in the cluster.
    pub fn forget(&self, node: &NodeName) {
        let mut inner = self.lock();
        if inner.machine.state(node).is_some() {
            self.feed(&mut inner, Input::Leaves(node.clone()));
        }
    }

    /// Keeps the time, for as long as the head runs.
    pub async fn run(self) {
        loop {
            let wake = {
                let inner = self.lock();
                inner.machine.poll_timeout(self.now()).map(|at| self.0.clock.instant(at))
            };
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep_until(wake.unwrap_or_else(|| Instant::now() + IDLE).into()) => {
                    self.feed(&mut self.lock(), Input::Tick);
                }
            }
        }
    }
}
