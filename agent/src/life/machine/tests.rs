//! The life of a node, told as inputs and outputs.

use proptest::prelude::*;

use super::*;

fn at(secs: u64) -> Now {
    Now::mono(Mono::from_millis(secs * 1000))
}

fn drain(life: &mut Life) -> Vec<Output> {
    std::iter::from_fn(|| life.poll_output()).collect()
}

fn feed(life: &mut Life, now: Now, input: Input) -> Vec<Output> {
    life.handle_input(now, input);
    drain(life)
}

fn running(step: Step) -> Life {
    let mut life = Life::new(OnFail::Retry, 1);
    feed(&mut life, at(0), Input::Start);
    while life.step() != Some(step) {
        let done = life.step().unwrap();
        feed(&mut life, at(0), Input::Done(done));
    }
    life
}

fn failure(step: Step) -> Input {
    Input::Failed { step, reason: "no head answers".into(), hold: false }
}

#[test]
fn a_boot_without_trouble_runs_each_step_once_and_reports_each_phase() {
    let mut life = Life::new(OnFail::Retry, 1);
    let mut outputs = feed(&mut life, at(0), Input::Start);
    let mut steps = vec![];
    let mut phases = vec![];
    while let Some(output) = outputs.pop() {
        match output {
            Output::Run(step) => {
                steps.push(step);
                outputs.extend(feed(&mut life, at(1), Input::Done(step)));
            }
            Output::Report(ReportKind::Reached(phase)) => phases.push(phase),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(steps, [Step::Modules, Step::Link, Step::Join, Step::Fetch, Step::Mount, Step::Overlay, Step::Pivot]);
    phases.sort();
    assert_eq!(phases, [Phase::Join, Phase::Fetch, Phase::Mount, Phase::Overlay, Phase::Pivot]);
    assert_eq!(life.step(), None);
}

#[test]
fn a_machine_that_is_adopted_links_again_as_the_node_and_goes_on() {
    let mut life = Life::new(OnFail::Retry, 1).discovering();
    let mut steps = vec![];
    let mut outputs = feed(&mut life, at(0), Input::Start);
    while let Some(Output::Run(step)) = outputs.first().cloned() {
        steps.push(step);
        if step == Step::Join {
            break;
        }
        if step == Step::Discover {
            assert!(feed(&mut life, at(1), Input::Adopted(OnFail::Poweroff)).is_empty());
        }
        outputs = feed(&mut life, at(1), Input::Done(step));
    }
    assert_eq!(steps, [Step::Modules, Step::Link, Step::Discover, Step::Link, Step::Join]);
    feed(&mut life, at(2), failure(Step::Join));
    assert_eq!(feed(&mut life, at(100), Input::Tick), [Output::Poweroff], "as the node wants it");
}

#[test]
fn a_machine_that_boots_something_else_as_a_node_begins_again() {
    let mut life = Life::new(OnFail::Retry, 1).discovering();
    assert!(feed(&mut life, at(0), Input::Restart).is_empty(), "it is off");
    feed(&mut life, at(0), Input::Start);
    feed(&mut life, at(0), Input::Done(Step::Modules));
    feed(&mut life, at(0), Input::Done(Step::Link));
    assert_eq!(life.step(), Some(Step::Discover));
    feed(&mut life, at(1), failure(Step::Discover));
    assert_eq!(feed(&mut life, at(100), Input::Tick), [Output::Run(Step::Discover)]);
    assert_eq!(feed(&mut life, at(101), Input::Restart), [Output::Reboot]);
}

#[test]
fn a_failed_step_is_tried_again_forever_with_pauses_of_at_most_a_minute() {
    let mut life = running(Step::Join);
    let mut now = Mono::ZERO;
    let mut longest = Duration::ZERO;
    for round in 0..100 {
        let outputs = feed(&mut life, Now::mono(now), failure(Step::Join));
        assert!(
            matches!(outputs[..], [Output::Report(ReportKind::Failed { .. }), Output::Rescue { .. }]),
            "round {round}"
        );
        let (wake, Reason::Pause) = life.poll_timeout().unwrap();
        assert_eq!(feed(&mut life, Now::mono(now), Input::Tick), [], "an early tick does nothing");
        longest = longest.max(wake.since(now));
        now = wake;
        assert_eq!(feed(&mut life, Now::mono(now), Input::Tick), [Output::Run(Step::Join)]);
    }
    assert!(longest > Duration::from_secs(30) && longest <= PAUSE_MAX, "{longest:?}");
}

#[test]
fn a_bad_manifest_holds_until_a_person_says_retry() {
    let mut life = running(Step::Join);
    feed(&mut life, at(1), Input::Failed { step: Step::Join, reason: "manifest refused".into(), hold: true });
    assert_eq!(life.poll_timeout(), None);
    assert_eq!(feed(&mut life, at(10_000), Input::Tick), []);
    assert_eq!(feed(&mut life, at(10_001), Input::Key(Key::Retry)), [Output::Run(Step::Join)]);
}

#[test]
fn a_key_holds_a_failed_step_but_not_a_running_one() {
    let mut life = running(Step::Fetch);
    assert_eq!(feed(&mut life, at(1), Input::Key(Key::Attention)), []);
    assert_eq!(feed(&mut life, at(2), Input::Done(Step::Fetch)).last(), Some(&Output::Run(Step::Mount)));
    feed(&mut life, at(3), failure(Step::Mount));
    let outputs = feed(&mut life, at(3), Input::Key(Key::Attention));
    assert!(matches!(outputs[..], [Output::Rescue { retry_at: None, .. }]));
    assert_eq!(life.poll_timeout(), None, "held");
    assert_eq!(feed(&mut life, at(3), Input::Key(Key::Attention)), [], "said once");
}

#[test]
fn losing_the_link_restarts_the_link_and_not_the_boot() {
    let mut life = running(Step::Fetch);
    assert_eq!(feed(&mut life, at(1), Input::LinkLost), [Output::Run(Step::Link)]);
    assert_eq!(feed(&mut life, at(2), Input::LinkLost), [], "once is enough");
    assert_eq!(feed(&mut life, at(3), failure(Step::Link)), [Output::Run(Step::Link)], "for as long as it takes");
    assert_eq!(feed(&mut life, at(4), Input::Done(Step::Link)), []);
    assert_eq!(life.step(), Some(Step::Fetch));
}

#[test]
fn what_failed_for_want_of_a_link_goes_on_when_it_is_back() {
    let mut life = running(Step::Join);
    feed(&mut life, at(1), Input::LinkLost);
    feed(&mut life, at(1), failure(Step::Join));
    assert_eq!(feed(&mut life, at(1), Input::Done(Step::Link)), [Output::Run(Step::Join)]);
}

#[test]
fn onfail_reboot_pauses_first() {
    let mut life = Life::new(OnFail::Reboot, 1);
    feed(&mut life, at(0), Input::Start);
    feed(&mut life, at(0), failure(Step::Modules));
    assert_eq!(feed(&mut life, at(59), Input::Tick), []);
    assert_eq!(feed(&mut life, at(60), Input::Tick), [Output::Reboot]);
    assert_eq!(feed(&mut life, at(61), Input::Tick), []);
}

fn any_input() -> impl Strategy<Value = Input> {
    let step = prop::sample::select(vec![
        Step::Modules,
        Step::Link,
        Step::Join,
        Step::Fetch,
        Step::Mount,
        Step::Overlay,
        Step::Pivot,
    ]);
    prop_oneof![
        Just(Input::Start),
        Just(Input::Tick),
        Just(Input::LinkLost),
        Just(Input::Key(Key::Attention)),
        Just(Input::Key(Key::Retry)),
        step.clone().prop_map(Input::Done),
        (step, any::<bool>()).prop_map(|(step, hold)| Input::Failed { step, reason: "x".into(), hold }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no step is skipped, and unless a person or a bad manifest holds it, something is
    /// always running or about to.
    #[test]
    fn no_order_of_events_skips_a_step_or_stops_silently(inputs in prop::collection::vec(any_input(), 0..200)) {
        let mut life = Life::new(OnFail::Retry, 7);
        feed(&mut life, at(0), Input::Start);
        let mut now = Mono::ZERO;
        let mut reached = Step::Modules;
        for input in inputs {
            if let Some((wake, _)) = life.poll_timeout() {
                now = now.max(wake);
            }
            let before = life.step();
            feed(&mut life, Now::mono(now), input.clone());
            if let Some(step) = life.step() {
                prop_assert!(step == reached || Some(step) == reached.next(), "{reached:?} -> {step:?} by {input:?}");
                reached = step;
                let held = matches!(&life.state, State::Paused { until: None, .. });
                prop_assert!(!held || before.is_some());
            } else {
                prop_assert_eq!(before, Some(Step::Pivot));
                break;
            }
        }
    }
}
