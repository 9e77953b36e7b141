//! Which orders are new, which are under way, and what the head has not heard of: pure.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wulfpack_shared::limits::ORDERS_MAX;
use wulfpack_shared::wire::{LISTEN_WAIT_S, Listen, NodeState, Order, OrderDone, OrderOutcome};

/// How long one request waits, give or take a quarter: with nothing to do the node wakes no more often than this.
const WAIT_S: u32 = LISTEN_WAIT_S as u32;
/// First and longest pause after a request without an answer.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Numbers of orders that are remembered after their end.
const ENDED_KEPT: usize = 64;

/// See the file's head.
#[derive(Debug)]
pub struct Inbox {
    /// What this node runs.
    pub state: NodeState,
    taken: BTreeSet<u64>,
    ended: VecDeque<u64>,
    untold: Vec<OrderDone>,
    failures: u32,
    rng: ChaCha8Rng,
}

impl Inbox {
    /// An empty one.
    pub fn new(state: NodeState, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { state, taken: BTreeSet::new(), ended: VecDeque::new(), untold: vec![], failures: 0, rng }
    }

    /// The next request.
    pub fn listen(&mut self) -> Listen {
        let wait_s = u16::try_from(WAIT_S * 3 / 4 + self.rng.next_u32() % (WAIT_S / 2)).unwrap_or(u16::MAX);
        let done = self.untold.iter().take(ORDERS_MAX).cloned().collect();
        let taken = self.taken.iter().copied().take(ORDERS_MAX).collect();
        Listen { state: self.state, done, taken, wait_s }
    }

    /// The head has answered `sent`. Returns the orders that are new, each with the pause before it.
    pub fn answered(&mut self, sent: &Listen, orders: Vec<Order>) -> Vec<(Duration, Order)> {
        self.failures = 0;
        self.untold.retain(|done| !sent.done.contains(done));
        let mut new = vec![];
        for order in orders.into_iter().take(ORDERS_MAX) {
            let known = self.ended.contains(&order.number) || self.taken.contains(&order.number);
            if !known && self.taken.len() < ORDERS_MAX {
                self.taken.insert(order.number);
                let pause = (u64::from(self.rng.next_u32()) * u64::from(order.spread_ms)) >> 32;
                new.push((Duration::from_millis(pause), order));
            }
        }
        new
    }

    /// No head answered, or it said no. Returns the pause before the next request.
    pub fn failed(&mut self) -> Duration {
        let pause = BACKOFF.0.saturating_mul(1 << self.failures.min(5)).min(BACKOFF.1);
        self.failures += 1;
        pause * 3 / 4 + pause / 2 * (self.rng.next_u32() % 1024) / 1024
    }

    /// An order has ended. One that found a job running may come again under its number.
    pub fn ended(&mut self, number: u64, outcome: OrderOutcome) {
        self.taken.remove(&number);
        if !matches!(outcome, OrderOutcome::Busy(_)) {
            self.ended.push_back(number);
            if self.ended.len() > ENDED_KEPT {
                self.ended.pop_front();
            }
        }
        self.untold.push(OrderDone { number, outcome });
    }
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::wire::OrderKind;

    use super::*;

    fn order(number: u64) -> Order {
        Order { number, what: OrderKind::Pause, spread_ms: 1000 }
    }

    fn inbox() -> Inbox {
        Inbox::new(NodeState::default(), 1)
    }

    #[test]
    fn an_order_that_comes_twice_is_done_once_and_its_end_told_until_heard() {
        let mut inbox = inbox();
        let sent = inbox.listen();
        let new = inbox.answered(&sent, vec![order(7), order(7)]);
        assert_eq!(new.len(), 1);
        assert!(new[0].0 < Duration::from_secs(1));
        assert_eq!(inbox.listen().taken, [7]);
        inbox.ended(7, OrderOutcome::Done("ok".into()));
        let sent = inbox.listen();
        assert_eq!((sent.done.len(), sent.taken.len()), (1, 0));
        // The answer to a request from before the end says nothing of it.
        let before = Listen { done: vec![], ..sent.clone() };
        inbox.answered(&before, vec![]);
        assert_eq!(inbox.listen().done, sent.done);
        assert_eq!(inbox.answered(&sent, vec![order(7)]), []);
        assert_eq!(inbox.listen().done, []);
    }

    #[test]
    fn an_order_that_met_a_job_may_come_again() {
        let mut inbox = inbox();
        let sent = inbox.listen();
        inbox.answered(&sent, vec![order(7)]);
        inbox.ended(7, OrderOutcome::Busy("job".into()));
        let sent = inbox.listen();
        assert_eq!(inbox.answered(&sent, vec![order(7)]).len(), 1);
    }

    #[test]
    fn a_head_that_is_away_is_asked_about_once_a_minute_in_the_end_and_an_idle_node_wakes_seldom() {
        let mut inbox = inbox();
        let first = inbox.failed();
        assert!(first >= Duration::from_millis(1500) && first < Duration::from_secs(3));
        for _ in 0..20 {
            inbox.failed();
        }
        assert!((Duration::from_secs(45)..=Duration::from_secs(75)).contains(&inbox.failed()));
        for _ in 0..100 {
            assert!((225..=375).contains(&inbox.listen().wait_s));
        }
    }
}
