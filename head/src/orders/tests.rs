use std::collections::BTreeSet;
use std::time::Duration;

use wulfpack_shared::id::NodeName;
use wulfpack_shared::time::{Mono, Now};
use wulfpack_shared::wire::{Listen, NodeState, OrderDone, OrderKind, OrderOutcome};

use super::batch::{JobState, Pace};
use super::{Input, Machine, Output};

const PACE: Pace = Pace { at_once: 2, spread_ms: 0, give_up_s: 600 };

fn name(index: u64) -> NodeName {
    format!("n{index}").parse().unwrap()
}

/// A machine and the time.
struct Head {
    machine: Machine,
    now: Mono,
    ticket: u64,
}

impl Head {
    fn new() -> Self {
        Self { machine: Machine::new(1000, Duration::from_secs(300)), now: Mono::ZERO, ticket: 0 }
    }

    /// Feeds one input; the tickets that were answered, each with its orders' numbers.
    fn feed(&mut self, input: Input) -> Vec<(u64, Vec<u64>)> {
        self.machine.handle_input(Now::mono(self.now), input);
        std::iter::from_fn(|| self.machine.poll_output())
            .map(|Output::Answer { ticket, orders }| (ticket, orders.iter().map(|order| order.number).collect()))
            .collect()
    }

    fn listens(&mut self, node: u64, taken: &[u64], done: Vec<OrderDone>) -> (u64, Vec<(u64, Vec<u64>)>) {
        self.ticket += 1;
        let listen = Listen { state: NodeState::default(), done, taken: taken.to_vec(), wait_s: 300 };
        let ticket = self.ticket;
        (ticket, self.feed(Input::Listens { node: name(node), ticket, listen }))
    }

    fn give(&mut self, nodes: impl IntoIterator<Item = u64>, pace: Pace) -> (u64, Vec<(u64, Vec<u64>)>) {
        let id = self.machine.next_id();
        let nodes: BTreeSet<_> = nodes.into_iter().map(name).collect();
        (id, self.feed(Input::Give { id, nodes, what: OrderKind::Pause, pace }))
    }

    fn wait(&mut self, secs: u64) -> Vec<(u64, Vec<u64>)> {
        self.now = self.now + Duration::from_secs(secs);
        self.feed(Input::Tick)
    }

    fn state(&self, id: u64, node: u64) -> JobState {
        self.machine.progress(id).unwrap().nodes[&name(node)].clone()
    }
}

fn done(number: u64) -> Vec<OrderDone> {
    vec![OrderDone { number, outcome: OrderOutcome::Done("ok".into()) }]
}

#[test]
fn no_more_nodes_than_asked_for_are_at_it_at_once() {
    let mut head = Head::new();
    for node in 1..=5 {
        assert_eq!(head.listens(node, &[], vec![]).1, []);
    }
    let (id, given) = head.give(1..=5, PACE);
    assert_eq!(given, [(1, vec![1000]), (2, vec![1001])]);
    assert_eq!(head.state(id, 3), JobState::Waiting);
    // The first is done, so the third gets its turn; the second says nothing and holds no more than its slot.
    let (_, given) = head.listens(1, &[], done(1000));
    assert_eq!(given, [(3, vec![1002])]);
    assert_eq!(head.wait(121), [(4, vec![1003]), (5, vec![1004])]);
    for (node, number) in [(2, 1001), (3, 1002), (4, 1003), (5, 1004)] {
        head.listens(node, &[], done(number));
    }
    assert!(head.machine.progress(id).unwrap().is_over());
}

#[test]
fn an_order_goes_out_again_until_the_node_has_it_and_counts_once() {
    let mut head = Head::new();
    let (id, given) = head.give([1], PACE);
    assert_eq!((given, head.state(id, 1)), (vec![], JobState::Away));
    let (ticket, given) = head.listens(1, &[], vec![]);
    assert_eq!(given, [(ticket, vec![1000])]);
    // The answer was lost: the node asks again and has nothing.
    let (ticket, given) = head.listens(1, &[], vec![]);
    assert_eq!(given, [(ticket, vec![1000])]);
    assert_eq!(head.listens(1, &[1000], vec![]).1, [], "it is at it");
    head.listens(1, &[], done(1000));
    assert_eq!(head.state(id, 1), JobState::Done("ok".into()));
    let failed = OrderDone { number: 1000, outcome: OrderOutcome::Failed("late".into()) };
    head.listens(1, &[], vec![failed]);
    assert_eq!(head.state(id, 1), JobState::Done("ok".into()), "what is final stays");
}

#[test]
fn a_node_with_a_job_is_asked_again_and_in_the_end_left_alone() {
    let mut head = Head::new();
    head.listens(1, &[], vec![]);
    let (id, _) = head.give([1, 2], PACE);
    let busy = OrderDone { number: 1000, outcome: OrderOutcome::Busy("job 7".into()) };
    head.listens(1, &[], vec![busy.clone()]);
    assert_eq!(head.state(id, 1), JobState::Busy("job 7".into()));
    assert_eq!(head.wait(61), [(2, vec![1000])]);
    head.listens(1, &[], vec![busy]);
    head.wait(600);
    assert_eq!(head.state(id, 1), JobState::GaveUp("job 7".into()));
    assert!(matches!(head.state(id, 2), JobState::GaveUp(why) if why.contains("does not listen")));
    assert_eq!(head.listens(2, &[], vec![]).1, [], "too late");
}

#[test]
fn a_wait_ends_in_time_and_a_second_one_ends_the_first() {
    let mut head = Head::new();
    let (first, _) = head.listens(1, &[], vec![]);
    let (second, answered) = head.listens(1, &[], vec![]);
    assert_eq!(answered, [(first, vec![])]);
    assert_eq!(head.machine.listening(), 1);
    assert_eq!(head.machine.poll_timeout(Now::mono(head.now)), Some(Mono::from_millis(300_000)));
    assert_eq!(head.wait(300), [(second, vec![])]);
    assert_eq!((head.machine.listening(), head.machine.poll_timeout(Now::mono(head.now))), (0, None));
}

#[test]
fn orders_of_two_batches_reach_a_node_together_and_none_twice() {
    let mut head = Head::new();
    let (first, _) = head.give([1], PACE);
    let (second, _) = head.give([1], PACE);
    let (ticket, given) = head.listens(1, &[], vec![]);
    assert_eq!(given, [(ticket, vec![1000, 1001])]);
    let both = [done(1000), done(1001)].concat();
    head.listens(1, &[], both);
    assert_eq!(
        (head.state(first, 1), head.state(second, 1)),
        (JobState::Done("ok".into()), JobState::Done("ok".into()))
    );
    assert_eq!(head.feed(Input::Leaves(name(1))).len(), 1);
    assert_eq!(head.machine.state(&name(1)), None);
}
