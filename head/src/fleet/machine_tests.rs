use std::net::IpAddr;

use proptest::prelude::*;
use wulfpack_shared::id::{BootId, Mac, NodeName, PublicKey, VersionId};
use wulfpack_shared::time::{Now, UnixTime};
use wulfpack_shared::wire::{Phase, ReportBatch, ReportEvent, ReportKind, SwarmSummary};

use super::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ADDR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

fn node() -> NodeName {
    "n1".parse().unwrap()
}

fn at(secs: u64) -> Now {
    Now { wall: Some(UnixTime::from_secs(secs)), ..Now::default() }
}

fn saw(fleet: &mut Fleet, secs: u64, phase: Phase, bytes: u64) {
    let event = BootEvent { mac: MAC, node: Some(node()), phase, ip: Some(ADDR), detail: String::new(), bytes };
    fleet.handle_input(at(secs), Input::Boot(event));
}

fn join(fleet: &mut Fleet, secs: u64, boot: u8) {
    let joined = Joined {
        node: node(),
        key: PublicKey([boot; 32]),
        boot: BootId([boot; 16]),
        addr: ADDR,
        image: VersionId([1; 32]),
        agent: "0.1.0".into(),
        memory: 1 << 31,
        clock_offset_ms: 0,
    };
    fleet.handle_input(at(secs), Input::Joined(joined));
}

fn reached(seq: u64, at_ms: u64, phase: Phase) -> ReportEvent {
    ReportEvent { seq, at_ms, kind: ReportKind::Reached(phase) }
}

fn report(fleet: &mut Fleet, secs: u64, boot: u8, events: Vec<ReportEvent>) {
    let batch = ReportBatch { boot: BootId([boot; 16]), events, swarm: None };
    fleet.handle_input(at(secs), Input::Report { node: node(), addr: ADDR, batch });
}

fn last(fleet: &Fleet) -> &BootRecord {
    fleet.of(&node()).next_back().unwrap()
}

fn pxe(fleet: &mut Fleet, secs: u64) {
    for (after, phase) in [(0, Phase::Dhcp), (2, Phase::Nbp), (5, Phase::Dhcp), (6, Phase::Script), (9, Phase::Kernel)]
    {
        saw(fleet, secs + after, phase, 100);
    }
}

#[test]
fn a_node_that_accuses_itself_is_told_from_one_that_accuses_a_peer() {
    let mut fleet = Fleet::default();
    pxe(&mut fleet, 100);
    join(&mut fleet, 112, 1);
    let corrupt = |seq, peer| {
        let kind = ReportKind::CorruptFrom { peer: PublicKey([peer; 32]), unit: 7 };
        ReportEvent { seq, at_ms: 3000, kind }
    };
    report(&mut fleet, 150, 1, vec![corrupt(1, 1), corrupt(2, 9)]);
    let texts: Vec<_> = fleet.take_batch().events.into_iter().map(|event| event.text).collect();
    assert_eq!(texts[0], "unit 7 went bad where it is stored: this node's memory is the suspect");
    assert!(texts[1].starts_with("unit 7 arrived corrupt from key 0909"), "{}", texts[1]);
}

#[test]
fn a_boot_from_power_on_to_ready_has_every_phase_in_head_time() {
    let mut fleet = Fleet::default();
    pxe(&mut fleet, 100);
    join(&mut fleet, 112, 1);
    // The agent's clock began when its kernel did; it reports late.
    let events = [(3000, Phase::Join), (10_000, Phase::Fetch), (10_500, Phase::Mount), (11_000, Phase::Overlay)];
    let events = events.iter().zip(1..).map(|((ms, phase), seq)| reached(seq, *ms, *phase)).collect();
    report(&mut fleet, 150, 1, events);
    assert_eq!(fleet.poll_output(), None);
    report(&mut fleet, 151, 1, vec![reached(5, 11_200, Phase::Pivot), reached(6, 20_000, Phase::Ready)]);
    let started = UnixTime::from_secs(100);
    assert_eq!(fleet.poll_output(), Some(Output::Probe { node: node(), started, addr: ADDR }));
    report(&mut fleet, 151, 1, vec![]);
    assert_eq!(fleet.poll_output(), None, "one check at a time");
    assert_eq!(last(&fleet).state(), BootState::Booting, "the agent's word alone is not enough");
    fleet.handle_input(at(152), Input::Login { node: node(), started, result: Ok(()) });
    let record = last(&fleet);
    assert_eq!(record.state(), BootState::Ready);
    let took: Vec<_> = Phase::ALL.into_iter().map(|phase| record.took_ms(phase).unwrap()).collect();
    assert_eq!(took, [0, 2000, 4000, 3000, 3000, 7000, 500, 500, 200, 31_800]);
    assert_eq!((record.bytes.nbp, record.bytes.kernel), (100, 100));
    assert_eq!(fleet.take_batch().events.last().unwrap().text, "ready after 52 s");
    assert!(fleet.take_batch().is_empty());
}

#[test]
fn phases_that_nobody_saw_are_unknown() {
    let mut fleet = Fleet::default();
    join(&mut fleet, 50, 1);
    report(&mut fleet, 60, 1, vec![reached(1, 1000, Phase::Join), reached(2, 4000, Phase::Fetch)]);
    let record = last(&fleet);
    assert_eq!((record.took_ms(Phase::Kernel), record.took_ms(Phase::Join)), (None, None));
    assert_eq!(record.took_ms(Phase::Fetch), Some(3000));
    assert_eq!((record.took_ms(Phase::Mount), record.phase()), (None, Phase::Mount));
}

#[test]
fn the_next_boot_of_a_node_begins_with_its_dhcp_exchange_and_a_renewal_begins_nothing() {
    let mut fleet = Fleet::default();
    pxe(&mut fleet, 100);
    join(&mut fleet, 112, 1);
    saw(&mut fleet, 130, Phase::Dhcp, 0); // the agent's, then the node's own client
    saw(&mut fleet, 1900, Phase::Dhcp, 0);
    assert_eq!(fleet.of(&node()).count(), 1);
    saw(&mut fleet, 5000, Phase::Dhcp, 0);
    saw(&mut fleet, 5003, Phase::Script, 0);
    saw(&mut fleet, 5004, Phase::Script, 0);
    assert_eq!(fleet.of(&node()).count(), 2);
    assert_eq!((last(&fleet).started, last(&fleet).boot), (UnixTime::from_secs(5000), None));
    assert_eq!(last(&fleet).took_ms(Phase::Nbp), None);
}

#[test]
fn a_machine_switched_off_while_loading_its_kernel_begins_again() {
    let mut fleet = Fleet::default();
    pxe(&mut fleet, 100);
    pxe(&mut fleet, 130);
    assert_eq!(fleet.of(&node()).map(|boot| boot.started.as_secs()).collect::<Vec<_>>(), [100, 130]);
}

#[test]
fn three_boots_are_kept() {
    let mut fleet = Fleet::default();
    for boot in 1..=5 {
        join(&mut fleet, u64::from(boot) * 1000, boot);
    }
    assert_eq!(fleet.of(&node()).map(|boot| boot.boot.unwrap().0[0]).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn failures_are_kept_bounded_and_success_ends_them() {
    let mut fleet = Fleet::default();
    join(&mut fleet, 10, 1);
    let failed = |seq| ReportEvent {
        seq,
        at_ms: seq,
        kind: ReportKind::Failed { phase: Phase::Fetch, reason: "no peers".into(), retry_s: 5 },
    };
    report(&mut fleet, 20, 1, (1..=50).map(failed).collect());
    assert_eq!((last(&fleet).state(), last(&fleet).failures.len()), (BootState::Failed, FAILURES_MAX));
    assert!(fleet.take_batch().events[0].text.contains("fetch failed: no peers"));
    report(&mut fleet, 30, 1, vec![reached(51, 60, Phase::Fetch)]);
    assert_eq!(last(&fleet).state(), BootState::Booting);
}

#[test]
fn failed_units_make_it_degraded() {
    let mut fleet = Fleet::default();
    join(&mut fleet, 10, 1);
    let system = ReportKind::System { state: "degraded".into(), failed: vec!["nfs.mount".into()] };
    let events =
        vec![reached(1, 1, Phase::Join), ReportEvent { seq: 2, at_ms: 2, kind: system }, reached(3, 3, Phase::Ready)];
    report(&mut fleet, 20, 1, events);
    let started = last(&fleet).started;
    fleet.handle_input(at(21), Input::Login { node: node(), started, result: Ok(()) });
    assert_eq!(last(&fleet).state(), BootState::Degraded);
    assert!(fleet.take_batch().events.iter().any(|event| event.text.contains("nfs.mount")));
}

#[test]
fn a_head_that_restarts_goes_on_where_the_last_one_stopped() {
    let mut fleet = Fleet::default();
    join(&mut fleet, 10, 1);
    report(&mut fleet, 20, 1, vec![reached(1, 1000, Phase::Join), reached(2, 2000, Phase::Pivot)]);
    let boots = fleet.take_batch().boots;
    let mut fleet = Fleet::new(boots);
    assert!(matches!(fleet.poll_output(), Some(Output::Probe { .. })), "the login check goes on");
    report(&mut fleet, 30, 1, vec![reached(2, 2000, Phase::Pivot), reached(3, 9000, Phase::Ready)]);
    assert_eq!((fleet.of(&node()).count(), last(&fleet).at(Phase::Pivot)), (1, Some(UnixTime::from_secs(11))));
}

#[test]
fn a_boot_that_only_reports_is_recorded_and_anchored_roughly() {
    let mut fleet = Fleet::default();
    report(&mut fleet, 100, 9, vec![reached(7, 5000, Phase::Mount), reached(8, 6000, Phase::Pivot)]);
    assert_eq!(last(&fleet).at(Phase::Pivot), Some(UnixTime::from_secs(100)));
    assert!(!last(&fleet).anchor.unwrap().exact);
}

#[test]
fn strangers_are_counted_and_bounded() {
    let mut fleet = Fleet::default();
    for n in 0..300u16 {
        let [a, b] = n.to_be_bytes();
        let mac = Mac([2, 0, 0, 0, a, b]);
        let event = BootEvent { mac, node: None, phase: Phase::Dhcp, ip: None, detail: String::new(), bytes: 0 };
        fleet.handle_input(at(u64::from(n)), Input::Boot(event));
    }
    assert_eq!(fleet.unknown().len(), 256);
    assert!(fleet.unknown().contains_key(&Mac([2, 0, 0, 0, 1, 43])));
}

fn story() -> Vec<ReportEvent> {
    let mut events: Vec<_> =
        Phase::ALL[4..].iter().zip(1..).map(|(phase, seq)| reached(seq, seq * 1000, *phase)).collect();
    for seq in 7..=30 {
        events.push(ReportEvent { seq, at_ms: seq * 1000, kind: ReportKind::Log(format!("line {seq}")) });
    }
    events
}

proptest! {
    /// However the same events are cut into reports, repeated and reordered, they are recorded once each.
    #[test]
    fn reports_are_idempotent(cuts in prop::collection::vec((0usize..30, 1usize..30), 0..40)) {
        let mut fleet = Fleet::default();
        join(&mut fleet, 10, 1);
        let story = story();
        for (from, len) in cuts.into_iter().chain([(0, 30)]) {
            let part = story.iter().skip(from).take(len).cloned().collect();
            report(&mut fleet, 20, 1, part);
        }
        let record = last(&fleet).clone();
        prop_assert_eq!((record.through, record.missing.len(), record.logged), (30, 0, 24));
        prop_assert_eq!(record.reached.len(), 6);
        let mut lines: Vec<_> = fleet.take_batch().lines.into_iter().map(|(_, _, number, line)| (number, line.text)).collect();
        lines.sort_unstable();
        lines.dedup();
        prop_assert_eq!(lines.len(), 24);
    }

    #[test]
    fn any_report_is_taken_without_harm(seqs in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50), held: u32) {
        let mut fleet = Fleet::default();
        let swarm = SwarmSummary { held, ..SwarmSummary::default() };
        let events = seqs.iter().map(|(seq, at_ms)| reached(*seq, *at_ms, Phase::Fetch)).collect();
        let batch = ReportBatch { boot: BootId([1; 16]), events, swarm: Some(swarm) };
        fleet.handle_input(at(1), Input::Report { node: node(), addr: ADDR, batch });
        for phase in Phase::ALL {
            last(&fleet).took_ms(phase);
        }
        prop_assert!(last(&fleet).missing.len() <= 4096);
    }
}

fn waits(fleet: &mut Fleet, secs: u64, mac: Mac) {
    fleet.handle_input(at(secs), Input::Waits { node: node(), mac, addr: ADDR });
}

fn approve(fleet: &mut Fleet, secs: u64, mac: Mac) {
    fleet.handle_input(at(secs), Input::Approve { node: node(), mac, who: "root".into() });
}

fn approved(fleet: &Fleet, secs: u64, mac: Mac) -> Option<u64> {
    fleet.approved(&node(), mac, UnixTime::from_secs(secs)).map(UnixTime::as_secs)
}

#[test]
fn an_approval_lets_one_interface_boot_once() {
    let mut fleet = Fleet::default();
    saw(&mut fleet, 100, Phase::Dhcp, 0);
    for secs in [105, 120, 135] {
        waits(&mut fleet, secs, MAC);
    }
    let message = NodeStatus::of(last(&fleet)).message.unwrap();
    assert_eq!(message, "02:00:00:00:00:01 at 10.0.0.7 waits for approval: `wulf node approve n1`");
    assert_eq!(fleet.take_batch().events.len(), 1, "told once, however often it asks");
    assert_eq!(fleet.waiting(&node(), UnixTime::from_secs(136)).unwrap().asked, UnixTime::from_secs(105));

    approve(&mut fleet, 140, Mac([9; 6]));
    assert!(fleet.waiting(&node(), UnixTime::from_secs(141)).is_some(), "that was another machine");
    approve(&mut fleet, 140, MAC);
    assert_eq!(fleet.take_batch().events[0].text, "the boot from 02:00:00:00:00:01 at 10.0.0.7 was approved by root");
    assert_eq!((approved(&fleet, 150, MAC), approved(&fleet, 150, Mac([9; 6]))), (Some(140), None));
    assert_eq!(NodeStatus::of(last(&fleet)).message, None);
    waits(&mut fleet, 151, Mac([9; 6]));
    assert_eq!(approved(&fleet, 152, MAC), Some(140), "another interface does not take it away");
    assert_eq!(approved(&fleet, 140 + 900, MAC), None);

    saw(&mut fleet, 160, Phase::Script, 0);
    saw(&mut fleet, 162, Phase::Kernel, 0);
    assert_eq!(fleet.of(&node()).count(), 1, "the boot that waited goes on");
    join(&mut fleet, 170, 1);
    assert_eq!(approved(&fleet, 171, MAC), None, "the join has spent it");
    waits(&mut fleet, 300, MAC);
    assert_eq!((fleet.of(&node()).count(), approved(&fleet, 301, MAC)), (2, None), "the next boot waits again");
}

#[test]
fn a_kernel_that_is_loaded_again_needs_no_second_approval_but_a_late_one_does() {
    let mut fleet = Fleet::default();
    waits(&mut fleet, 100, MAC);
    approve(&mut fleet, 110, MAC);
    saw(&mut fleet, 115, Phase::Script, 0);
    saw(&mut fleet, 116, Phase::Kernel, 0);
    saw(&mut fleet, 130, Phase::Script, 0);
    assert_eq!((fleet.of(&node()).count(), approved(&fleet, 131, MAC)), (2, Some(110)));
    assert!(fleet.take_batch().events.len() == 2);
    waits(&mut fleet, 110 + 900, MAC);
    assert!(fleet.waiting(&node(), UnixTime::from_secs(1011)).is_some());
    assert_eq!(fleet.take_batch().events.len(), 1);
    assert!(fleet.waiting(&node(), UnixTime::from_secs(1011 + 601)).is_none(), "it asks no more");
}
