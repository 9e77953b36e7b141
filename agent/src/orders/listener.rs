//! The task that keeps a request open at a head.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use wulfpack_shared::id::Hash;
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::wire::{ControlRequest, ControlResponse, Listen, NodeState, Order, OrderOutcome, Orders};

use super::Inbox;

/// What comes together is told together.
const GATHER: Duration = Duration::from_millis(100);

/// What the head said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Do this, and say [`Listener::ended`].
    Order(Order),
    /// The node would get runtime overlays with this hash now, which are not those that it runs.
    Drifted(Hash),
}

/// A handle; the task ends when it is dropped.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    inbox: Mutex<Inbox>,
    /// The head should hear of something.
    news: Notify,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Each change leaves it whole.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Listens to the heads of `client` for a node that runs `state`. Inside a tokio runtime.
    pub fn start(client: Arc<ControlClient>, state: NodeState, seed: u64) -> (Self, mpsc::Receiver<Told>) {
        let shared = Arc::new(Shared { inbox: Mutex::new(Inbox::new(state, seed)), news: Notify::new() });
        let (told_in, told) = mpsc::channel(16);
        let task = tokio::spawn(run(client, Arc::clone(&shared), told_in));
        (Self { shared, task }, told)
    }

    /// An order has ended; the head hears of it at once.
    pub fn ended(&self, number: u64, outcome: OrderOutcome) {
        self.shared.inbox().ended(number, outcome);
        self.shared.news.notify_one();
    }

    /// Changes what the head knows that this node runs.
    pub fn state(&self, change: impl FnOnce(&mut NodeState)) {
        {
            let mut inbox = self.shared.inbox();
            let before = inbox.state;
            change(&mut inbox.state);
            if inbox.state == before {
                return;
            }
        }
        self.shared.news.notify_one();
    }

    /// What the head knows, or will soon, that this node runs.
    pub fn current(&self) -> NodeState {
        self.shared.inbox().state
    }
}

async fn run(client: Arc<ControlClient>, shared: Arc<Shared>, told: mpsc::Sender<Told>) {
    loop {
        let sent = shared.inbox().listen();
        let answer = tokio::select! {
            // The open request is left: the head answers it when the next one arrives.
            () = shared.news.notified() => {
                tokio::time::sleep(GATHER).await;
                continue;
            }
            answer = client.listen(ControlRequest::Listen(sent.clone())) => answer,
        };
        match answer {
            Ok(ControlResponse::Orders(orders)) => {
                if !pass_on(&shared, &told, &sent, orders) {
                    return;
                }
            }
            other => {
                tracing::debug!(?other, "no orders to be had");
                let pause = shared.inbox().failed();
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Passes on what is new; `false` when nobody wants it any more.
fn pass_on(shared: &Shared, told: &mpsc::Sender<Told>, sent: &Listen, Orders { orders, runtime }: Orders) -> bool {
    let (new, running) = {
        let mut inbox = shared.inbox();
        (inbox.answered(sent, orders), inbox.state.runtime)
    };
    for (pause, order) in new {
        let told = told.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // The service has ended: whoever comes after it is told again.
            drop(told.send(Told::Order(order)).await);
        }));
    }
    if let Some(would_get) = runtime.filter(|hash| Some(*hash) != running) {
        // Full means that there is work enough; the next answer says it again.
        drop(told.try_send(Told::Drifted(would_get)));
    }
    !told.is_closed()
}
