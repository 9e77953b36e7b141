//! Engines that talk to each other without a network: every message arrives at once, every unit is good unless said.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::image::{Run, Units};
use crate::limits::{PAGE_LEN, RUN_UNITS_MAX};
use crate::time::{Mono, Now};

const IMAGE: ImageIx = ImageIx(0);
const CHUNK: u32 = 256 * 1024;

fn units(chunks: u32) -> Units {
    let table_len = u64::from(chunks) * 36;
    let pages = u32::try_from(table_len.div_ceil(u64::from(PAGE_LEN))).unwrap();
    Units { pages, chunks, table_len, blob_len: u64::from(chunks) * u64::from(CHUNK) }
}

fn lens(chunks: u32) -> Arc<[u32]> {
    vec![CHUNK; chunks as usize].into()
}

fn at(millis: u64) -> Now {
    Now::mono(Mono::from_millis(millis))
}

/// Engine 0 is the head.
struct Room {
    now: Now,
    engines: Vec<Engine>,
    asked: BTreeMap<ServeId, (usize, ReqId)>,
    next_serve: u64,
    log: Vec<(usize, Output)>,
    corrupt: Option<usize>,
}

impl Room {
    fn new(nodes: usize, chunks: u32) -> Self {
        let engine = |index: usize| {
            let config = if index == 0 { Config::head() } else { Config::node() };
            let mut engine = Engine::new(config, index as u64, at(0));
            engine.handle_input(at(0), Input::Image { image: IMAGE, units: units(chunks) });
            if index == 0 {
                engine.handle_input(at(0), Input::Table { image: IMAGE, lens: lens(chunks) });
                let run = Run { first: 0, count: units(chunks).total() };
                engine.handle_input(at(0), Input::Held { image: IMAGE, run });
            }
            engine
        };
        let engines = (0..=nodes).map(engine).collect();
        Self { now: at(0), engines, asked: BTreeMap::new(), next_serve: 0, log: vec![], corrupt: None }
    }

    fn connect(&mut self, a: usize, b: usize) {
        for (me, other, dialled) in [(a, b, true), (b, a, false)] {
            let kind = if other == 0 { PeerKind::Head } else { PeerKind::Node };
            let met = Input::Connected { peer: PeerIx(other as u32), kind, same_rack: true, dialled };
            self.engines[me].handle_input(self.now, met);
        }
        // What they say to each other is heard: both know of the connection.
        [a, b].into_iter().for_each(|member| self.give(member, Input::Tick));
    }

    fn give(&mut self, to: usize, input: Input) {
        let mut queue = VecDeque::from([(to, input)]);
        while let Some((to, input)) = queue.pop_front() {
            self.engines[to].handle_input(self.now, input);
            while let Some(output) = self.engines[to].poll_output() {
                self.log.push((to, output.clone()));
                self.carry_out(to, output, &mut queue);
            }
        }
    }

    fn carry_out(&mut self, me: usize, output: Output, queue: &mut VecDeque<(usize, Input)>) {
        let my_ix = PeerIx(me as u32);
        match output {
            Output::Fetch { req, peer, image, choice } => {
                self.next_serve += 1;
                let serve = ServeId(self.next_serve);
                self.asked.insert(serve, (me, req));
                queue.push_back((peer.0 as usize, Input::Asked { peer: my_ix, serve, image, choice }));
            }
            Output::Serve { serve, run, .. } => {
                let (to, req) = self.asked.remove(&serve).unwrap();
                queue.push_back((to, Input::Assigned { req, run }));
                for unit in run.iter() {
                    assert!(self.engines[me].is_held(IMAGE, unit), "serves what it does not hold");
                    if self.corrupt == Some(me) {
                        queue.push_back((to, Input::Corrupt { req, unit }));
                        break;
                    }
                    queue.push_back((to, Input::Verified { req, unit }));
                }
                queue.push_back((me, Input::Served { serve, complete: true }));
                queue.push_back((to, Input::Ended { req, end: End::Done }));
            }
            Output::Refuse { serve, reason } => {
                let (to, req) = self.asked.remove(&serve).unwrap();
                let end = if reason == RefuseReason::Busy { End::Busy } else { End::Refused };
                queue.push_back((to, Input::Ended { req, end }));
            }
            Output::Send { peer, message } => {
                queue.push_back((peer.0 as usize, Input::Message { peer: my_ix, message }))
            }
            Output::Close { peer, .. } => {
                queue.push_back((peer.0 as usize, Input::Disconnected { peer: my_ix }));
            }
            Output::Event(Event::PagesComplete { image }) if me != 0 => {
                let chunks = self.engines[0].image(IMAGE).unwrap().units.chunks;
                queue.push_back((me, Input::Table { image, lens: lens(chunks) }));
            }
            Output::Dial { .. } | Output::Cancel { .. } | Output::AskTracker { .. } => {}
            Output::Recheck { .. } | Output::Break(_) | Output::Event(_) => {}
        }
    }

    fn run(&mut self, millis: u64) {
        let end = self.now.mono.as_millis() + millis;
        while self.now.mono.as_millis() < end {
            self.now = at(self.now.mono.as_millis() + 5);
            (0..self.engines.len()).for_each(|index| self.give(index, Input::Tick));
        }
    }

    fn events(&self) -> impl Iterator<Item = (usize, &Event)> {
        self.log.iter().filter_map(|(who, output)| match output {
            Output::Event(event) => Some((*who, event)),
            _ => None,
        })
    }
}

#[test]
fn one_node_fetches_all_from_the_head_once() {
    let mut room = Room::new(1, 100);
    room.connect(1, 0);
    room.run(100);
    assert!(room.engines[1].is_complete(IMAGE));
    let stats = room.engines[1].stats();
    assert_eq!(stats.bytes_from_heads, 100 * u64::from(CHUNK) + 3600);
    assert_eq!((stats.bytes_duplicate, stats.in_flight), (0, 0));
    assert!(room.events().any(|(who, event)| who == 1 && matches!(event, Event::Complete { .. })));
    assert!(!room.events().any(|(_, event)| matches!(event, Event::Covered { .. })), "one copy outside is not two");
}

#[test]
fn the_head_sends_each_chunk_once_to_many_and_says_covered() {
    let mut room = Room::new(4, 200);
    for a in 1..=4 {
        (0..a).for_each(|b| room.connect(a, b));
    }
    room.run(3000);
    let from_heads: u64 = room.engines[1..].iter().map(|engine| engine.stats().bytes_from_heads).sum();
    assert!(room.engines[1..].iter().all(|engine| engine.is_complete(IMAGE)));
    assert!(from_heads <= 200 * u64::from(CHUNK) + 4 * 7200, "{from_heads} bytes from the head");
    assert_eq!(room.events().filter(|(who, event)| *who == 0 && matches!(event, Event::Covered { .. })).count(), 1);
}

#[test]
fn a_complete_node_that_left_in_peace_still_counts_for_covered() {
    let mut room = Room::new(2, 50);
    room.connect(1, 0);
    room.run(3000);
    assert!(room.engines[1].is_complete(IMAGE));
    assert_eq!(room.engines[0].connected().count(), 0, "both have everything, and part");
    room.connect(2, 0);
    room.connect(2, 1);
    room.run(3000);
    assert!(room.engines[2].is_complete(IMAGE));
    assert_eq!(room.events().filter(|(who, event)| *who == 0 && matches!(event, Event::Covered { .. })).count(), 1);
}

#[test]
fn a_late_node_that_knows_nobody_else_is_served_by_the_head_after_a_deadline() {
    let mut room = Room::new(2, 50);
    room.connect(1, 0);
    room.run(100);
    assert!(room.engines[1].is_complete(IMAGE));
    room.connect(2, 0);
    room.run(500);
    assert!(!room.engines[2].is_complete(IMAGE), "copies are outside: the head waits for the neighbours");
    room.run(5000);
    assert!(room.engines[2].is_complete(IMAGE));
}

#[test]
fn a_peer_that_sends_rubbish_costs_its_runs_and_nothing_else() {
    let mut room = Room::new(3, 100);
    room.connect(3, 0);
    room.run(100);
    room.corrupt = Some(3);
    room.connect(1, 3);
    room.connect(1, 2);
    room.connect(1, 0);
    room.connect(2, 0);
    room.run(20_000);
    assert!(room.engines[1].is_complete(IMAGE) && room.engines[2].is_complete(IMAGE));
    assert!(room.engines[1].stats().corrupt <= 32);
    assert!(room.log.iter().any(|(who, output)| *who == 3 && matches!(output, Output::Recheck { .. })));
}

#[test]
fn a_unit_that_goes_bad_is_fetched_again_only_where_there_is_room_for_it() {
    let dropped = |again| Input::Dropped { image: IMAGE, unit: 7, again };
    let fetches = |(who, output): &(usize, Output)| *who == 1 && matches!(output, Output::Fetch { .. });
    let mut room = Room::new(1, 50);
    room.connect(1, 0);
    room.run(500);
    assert!(room.engines[1].is_complete(IMAGE));
    room.log.clear();
    room.give(1, dropped(true));
    let lost = |(who, output): &(usize, Output)| {
        *who == 1 && matches!(output, Output::Send { message: PeerMessage::Lost { unit: 7, .. }, .. })
    };
    assert!(room.log.iter().any(lost));
    room.run(500);
    assert!(room.log.iter().any(fetches) && room.engines[1].is_complete(IMAGE));

    room.give(1, dropped(false));
    room.run(60_000);
    room.log.clear();
    room.connect(1, 0);
    room.run(60_000);
    assert!(!room.engines[1].is_held(IMAGE, 7));
    let restless = |entry: &(usize, Output)| {
        fetches(entry) || entry.0 == 1 && matches!(entry.1, Output::Dial { .. } | Output::AskTracker { .. })
    };
    assert!(!room.log.iter().any(restless), "it would ask for ever");
    assert!(room.engines[1].connected().next().is_none(), "it needs nobody");
}

#[test]
fn without_head_or_holder_it_says_what_is_missing_and_goes_on_when_one_comes() {
    let mut room = Room::new(2, 50);
    room.connect(1, 2);
    room.run(6000);
    let starved: Vec<_> =
        room.events().filter(|(_, event)| matches!(event, Event::Starved { missing: 1, first: 0, .. })).collect();
    assert_eq!(starved.len(), 2, "each says it, once in ten seconds");
    assert!(room.log.iter().any(|(_, output)| matches!(output, Output::AskTracker { .. })));
    room.connect(1, 0);
    room.run(3000);
    assert!(room.engines[1].is_complete(IMAGE) && room.engines[2].is_complete(IMAGE));
}

#[test]
fn who_serves_nobody_gets_everything_and_is_no_copy_for_others() {
    let mut room = Room::new(2, 50);
    let silent = Config { slots_up: 0, ..Config::node() };
    room.engines[1] = Engine::new(silent, 1, at(0));
    room.give(1, Input::Image { image: IMAGE, units: units(50) });
    room.connect(1, 0);
    room.run(200);
    assert!(room.engines[1].is_complete(IMAGE));
    assert_eq!(room.engines[1].stats().bytes_from_heads, 50 * u64::from(CHUNK) + 1800, "each unit once");
    room.connect(2, 1);
    room.connect(2, 0);
    room.run(100);
    assert!(room.engines[2].is_complete(IMAGE), "the head does not wait for a copy that nobody gets");
    assert!(!room.events().any(|(_, event)| matches!(event, Event::Covered { .. })), "one copy can be had, not two");
    assert!(!room.log.iter().any(|(who, output)| *who == 1 && matches!(output, Output::Serve { .. })));
}

#[test]
fn what_was_taken_over_is_told_before_anything_is_asked_for() {
    let (mut engine, head) = (Engine::new(Config::node(), 1, at(0)), PeerIx(0));
    let layout = units(60);
    let everything = Run { first: 0, count: layout.total() };
    let (pages, taken) = (Run { first: 0, count: layout.pages }, Run { first: layout.pages + 5, count: 40 });
    for input in [
        Input::Image { image: IMAGE, units: layout },
        Input::Connected { peer: head, kind: PeerKind::Head, same_rack: true, dialled: true },
        Input::Message { peer: head, message: PeerMessage::Have { image: IMAGE, ranges: vec![everything] } },
        Input::Held { image: IMAGE, run: pages },
        Input::Message { peer: head, message: PeerMessage::Slots { free: 4 } },
        Input::Held { image: IMAGE, run: taken },
        Input::Table { image: IMAGE, lens: lens(60) },
    ] {
        engine.handle_input(at(1), input);
    }
    let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll_output()).collect();
    let told = outputs.iter().position(|output| {
        matches!(output, Output::Send { message: PeerMessage::Have { ranges, .. }, .. } if ranges.contains(&taken))
    });
    let asked = outputs.iter().position(|output| {
        matches!(output, Output::Fetch { choice, .. } if !matches!(choice, Choice::Run(run) if run.end() <= pages.end()))
    });
    assert!(told.is_some() && told < asked, "{outputs:?}");
}

fn any_run() -> impl Strategy<Value = Run> {
    let number = prop_oneof![0u32..70, Just(u32::MAX), any::<u32>()];
    (number.clone(), number).prop_map(|(first, count)| Run { first, count })
}

fn any_choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        any_run().prop_map(Choice::Run),
        (any::<u32>(), any::<bool>()).prop_map(|(max_bytes, starved)| Choice::Rarest { max_bytes, starved }),
    ]
}

fn any_message() -> impl Strategy<Value = PeerMessage> {
    let image = prop_oneof![Just(IMAGE), any::<u16>().prop_map(ImageIx)];
    let unit = prop_oneof![0u32..70, any::<u32>()];
    prop_oneof![
        (image.clone(), prop::collection::vec(any_run(), 0..6))
            .prop_map(|(image, ranges)| PeerMessage::Have { image, ranges }),
        (image.clone(), unit.clone()).prop_map(|(image, unit)| PeerMessage::Lost { image, unit }),
        any::<u8>().prop_map(|free| PeerMessage::Slots { free }),
        (image, unit).prop_map(|(image, unit)| PeerMessage::Refuted { image, unit }),
        Just(PeerMessage::Full),
        Just(PeerMessage::Bye),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    let peer = prop_oneof![0u32..5, any::<u32>()].prop_map(PeerIx);
    let id = 0u64..40;
    let unit = prop_oneof![0u32..70, any::<u32>()];
    let kind = prop_oneof![Just(PeerKind::Head), Just(PeerKind::Node)];
    let end = prop_oneof![
        Just(End::Done),
        Just(End::Busy),
        Just(End::Refused),
        Just(End::PeerGone),
        Just(End::StoreFull),
        Just(End::Cancelled)
    ];
    prop_oneof![
        Just(Input::Tick),
        Just(Input::Table { image: IMAGE, lens: lens(60) }),
        any_run().prop_map(|run| Input::Held { image: IMAGE, run }),
        (unit.clone(), any::<bool>()).prop_map(|(unit, again)| Input::Dropped { image: IMAGE, unit, again }),
        (0u32..100, 0u32..100).prop_map(|(size, cap)| Input::Rack { size, cap }),
        (peer.clone(), kind).prop_map(|(peer, kind)| Input::Connected { peer, kind, same_rack: true, dialled: false }),
        peer.clone().prop_map(|peer| Input::Candidates(vec![Candidate {
            peer,
            kind: PeerKind::Node,
            same_rack: false
        }])),
        peer.clone().prop_map(|peer| Input::DialFailed { peer }),
        peer.clone().prop_map(|peer| Input::Disconnected { peer }),
        peer.clone().prop_map(|peer| Input::Revoked { peer }),
        (peer.clone(), any_message()).prop_map(|(peer, message)| Input::Message { peer, message }),
        (peer, id.clone(), any_choice()).prop_map(|(peer, id, choice)| Input::Asked {
            peer,
            serve: ServeId(id),
            image: IMAGE,
            choice
        }),
        (id.clone(), any::<bool>()).prop_map(|(id, complete)| Input::Served { serve: ServeId(id), complete }),
        (id.clone(), any_run()).prop_map(|(id, run)| Input::Assigned { req: ReqId(id), run }),
        id.clone().prop_map(|id| Input::Progress { req: ReqId(id) }),
        (id.clone(), unit.clone()).prop_map(|(id, unit)| Input::Verified { req: ReqId(id), unit }),
        (id.clone(), unit).prop_map(|(id, unit)| Input::Corrupt { req: ReqId(id), unit }),
        (id, end).prop_map(|(id, end)| Input::Ended { req: ReqId(id), end }),
        any::<bool>().prop_map(Input::Draining),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_input_breaks_the_engine(head: bool, inputs in prop::collection::vec((any_input(), 0u64..2000), 0..120)) {
        let config = if head { Config::head() } else { Config::node() };
        let (mut engine, mut now) = (Engine::new(config, 7, at(0)), 0);
        engine.handle_input(at(0), Input::Image { image: IMAGE, units: units(60) });
        let mut live = std::collections::BTreeSet::new();
        for (input, wait) in inputs {
            now += wait;
            if let Input::Ended { req, .. } = &input { live.remove(req); }
            engine.handle_input(at(now), input);
            while let Some(output) = engine.poll_output() {
                match output {
                    Output::Fetch { req, choice, .. } => {
                        prop_assert!(!head && live.insert(req));
                        if let Choice::Run(run) = choice { prop_assert!(run.count <= RUN_UNITS_MAX && run.end() <= 61); }
                    }
                    Output::Serve { run, .. } => prop_assert!(run.iter().all(|unit| engine.is_held(IMAGE, unit))),
                    _ => {}
                }
            }
            prop_assert!(engine.down.len() <= usize::from(engine.config.slots_down));
            prop_assert!(engine.up.len() <= usize::from(engine.config.slots_up));
            prop_assert!(live.len() <= 2 * usize::from(engine.config.slots_down));
            if let Some((due, _)) = engine.poll_timeout() {
                prop_assert!(due.0 > engine.now.0, "asks to be called at once, again and again");
            }
        }
    }
}
