//! The task that keeps the runtime overlays those of the head, one update after the other, beside the service's main loop: an update
//! may wait for a unit to reload, and a node has to answer its peers meanwhile.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::wire::{NodeState, OrderOutcome, ReportKind};

use super::runtime;
use crate::orders::Listener;
use crate::overlay::Record;
use crate::report::Reporter;

/// Updates that wait; more than a node can have orders at a time is never needed.
const WAITING_MAX: usize = 16;

/// Why the runtime overlays are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// The head ordered it, under this number.
    Order {
        /// The order's number.
        number: u64,
        /// Also over files that were edited on the node.
        force: bool,
    },
    /// The head said that they would be others now.
    Drifted,
}

/// A handle; the task ends when it is dropped, after what it is writing is whole.
#[derive(Debug)]
pub(super) struct Updates {
    queue: mpsc::Sender<Want>,
    listener: Arc<Listener>,
    task: JoinHandle<()>,
}

impl Drop for Updates {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Updates {
    /// Starts it, inside a tokio runtime.
    pub(super) fn start(client: Arc<ControlClient>, listener: Arc<Listener>, reporter: Reporter) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let worker = Worker { client, listener: Arc::clone(&listener), reporter };
        Self { queue, listener, task: tokio::spawn(worker.run(waiting)) }
    }

    /// Does it once what came before it is done. An order that finds no room is offered again by the head.
    pub(super) fn want(&self, want: Want) {
        if let (Err(_), Want::Order { number, .. }) = (self.queue.try_send(want), want) {
            self.listener.ended(number, OrderOutcome::Busy("other updates are under way".into()));
        }
    }
}

struct Worker {
    client: Arc<ControlClient>,
    listener: Arc<Listener>,
    reporter: Reporter,
}

impl Worker {
    async fn run(self, mut waiting: mpsc::Receiver<Want>) {
        while let Some(want) = waiting.recv().await {
            let force = matches!(want, Want::Order { force: true, .. });
            let (outcome, record) = runtime::refresh(&self.client, force).await;
            self.tell(&outcome, record.as_ref());
            match want {
                Want::Order { number, .. } => self.listener.ended(number, outcome),
                Want::Drifted => tracing::info!(?outcome, "the head had other runtime overlays"),
            }
        }
    }

    /// Says what the node runs now, and what somebody has to see.
    fn tell(&self, outcome: &OrderOutcome, record: Option<&Record>) {
        if let Some(record) = record {
            self.listener.state(|state| *state = node_state(record, *state));
            for path in &record.edited {
                self.reporter.log(format!("/{path} of a runtime overlay was edited on the node, and is kept"));
            }
        }
        match outcome {
            OrderOutcome::Failed(why) => {
                self.reporter.tell(ReportKind::Trouble(format!("the runtime overlays are not all in force: {why}")));
            }
            OrderOutcome::Done(text) => self.reporter.log(format!("runtime overlays: {text}")),
            OrderOutcome::Busy(_) => {}
        }
    }
}

/// What the head is told of the overlays that are applied.
pub(super) fn node_state(record: &Record, before: NodeState) -> NodeState {
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let (edited, stale_units) = (count(record.edited.len()), count(record.due.len()));
    NodeState { system: record.system, runtime: record.runtime, edited, stale_units, ..before }
}
