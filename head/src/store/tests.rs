use std::os::unix::fs::PermissionsExt;

use wulfpack_shared::id::BootId;
use wulfpack_shared::identity::Role;

use super::*;
use crate::fleet::{BootRecord, EventRecord, LOG_LINES_MAX, LogLine, Severity};
use wulfpack_shared::id::{Mac, PublicKey};
use wulfpack_shared::time::UnixTime;

const LATER: UnixTime = UnixTime(1_000_000);

fn key(byte: u8) -> PublicKey {
    PublicKey([byte; 32])
}

fn open(dir: &tempfile::TempDir) -> RedbStore {
    RedbStore::open(&dir.path().join("state.redb")).unwrap()
}

#[test]
fn the_first_token_key_stays() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(&dir).token_key([1; 32]).unwrap(), [1; 32]);
    assert_eq!(open(&dir).token_key([2; 32]).unwrap(), [1; 32]);
    let mode = std::fs::metadata(dir.path().join("state.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_first_key_wins_a_token_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert_eq!(store.redeem([7; 16], 1, LATER, key(1)).unwrap(), Redeemed::First);
    assert_eq!(store.redeem([7; 16], 1, LATER, key(1)).unwrap(), Redeemed::Again);
    drop(store);
    let store = open(&dir);
    assert_eq!(store.redeem([7; 16], 1, LATER, key(2)).unwrap(), Redeemed::Taken { by: vec![key(1)] });
    assert_eq!(store.redeem([7; 16], 1, LATER, key(1)).unwrap(), Redeemed::Again);
    assert_eq!(store.redeemers([7; 16]).unwrap(), [key(1)]);
    assert_eq!(store.redeemers([8; 16]).unwrap(), []);
}

#[test]
fn of_many_at_once_exactly_as_many_as_there_are_places_win() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let wins: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|n| {
                let store = &store;
                scope.spawn(move || store.redeem([1; 16], 3, LATER, key(n)).unwrap() == Redeemed::First)
            })
            .collect();
        tries.into_iter().map(|handle| usize::from(handle.join().unwrap())).sum()
    });
    assert_eq!(wins, 3);
    assert_eq!(store.redeemers([1; 16]).unwrap().len(), 3);
}

#[test]
fn revocations_raise_the_epoch_once_for_each_new_key_and_are_forgotten_with_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert_eq!(store.revocations().unwrap(), Revocations::default());
    assert_eq!(store.revoke(&[(key(2), LATER), (key(1), UnixTime(5))]).unwrap().epoch, 1);
    assert_eq!(store.revoke(&[(key(2), LATER)]).unwrap().epoch, 1);
    assert_eq!(store.revocations().unwrap(), Revocations { epoch: 1, keys: vec![key(1), key(2)] });
    store.prune(UnixTime(6)).unwrap();
    assert_eq!(store.revocations().unwrap(), Revocations { epoch: 1, keys: vec![key(2)] });
}

#[test]
fn what_ran_out_is_pruned_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let member = |byte, not_after| Member {
        key: key(byte),
        name: "n1".parse().unwrap(),
        role: Role::Node,
        rack: None,
        boot: BootId([byte; 16]),
        nonce: [byte; 16],
        issued: UnixTime(0),
        not_after,
    };
    store.put_member(&member(1, UnixTime(10))).unwrap();
    store.put_member(&member(2, UnixTime(20))).unwrap();
    store.redeem([1; 16], 1, UnixTime(10), key(1)).unwrap();
    store.redeem([2; 16], 1, UnixTime(20), key(2)).unwrap();
    store.prune(UnixTime(15)).unwrap();
    assert_eq!(store.members().unwrap(), [member(2, UnixTime(20))]);
    assert_eq!((store.redeemers([1; 16]).unwrap().len(), store.redeemers([2; 16]).unwrap().len()), (0, 1));
}

#[test]
fn an_announced_boot_is_taken_once_also_after_a_restart_and_by_whom_it_fits() {
    let dir = tempfile::tempdir().unwrap();
    let node = "n1".parse().unwrap();
    let announced = |until| NextBoot { key: key(1), mac: Mac([2; 6]), until: UnixTime(until) };
    let store = open(&dir);
    assert_eq!(store.take_next_boot(&node, &|_| true).unwrap(), None);
    store.put_next_boot(&node, &announced(10)).unwrap();
    store.put_next_boot(&node, &announced(20)).unwrap();
    drop(store);
    let store = open(&dir);
    assert_eq!(store.take_next_boot(&node, &|boot| boot.mac == Mac([3; 6])).unwrap(), None);
    assert_eq!(store.take_next_boot(&"n2".parse().unwrap(), &|_| true).unwrap(), None);
    assert_eq!(store.take_next_boot(&node, &|_| true).unwrap(), Some(announced(20)));
    assert_eq!(store.take_next_boot(&node, &|_| true).unwrap(), None);
    store.put_next_boot(&node, &announced(20)).unwrap();
    store.prune(UnixTime(21)).unwrap();
    assert_eq!(store.take_next_boot(&node, &|_| true).unwrap(), None);
}

#[test]
fn three_boots_of_a_node_are_kept_with_their_logs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let node: wulfpack_shared::id::NodeName = "n1".parse().unwrap();
    for started in 1..=5 {
        let boot = BootRecord::new(node.clone(), UnixTime(started));
        let line = LogLine { at: UnixTime(started), text: format!("boot {started}") };
        let lines = vec![(node.clone(), UnixTime(started), 0, line)];
        store.write(&Batch { boots: vec![boot], lines, events: vec![] }).unwrap();
    }
    // Another node whose name begins alike is none of n1's business.
    let other = BootRecord::new("n10".parse().unwrap(), UnixTime(1));
    store.write(&Batch { boots: vec![other], ..Batch::default() }).unwrap();
    drop(store);
    let store = open(&dir);
    let kept: Vec<u64> = store.boots().unwrap().iter().map(|boot| boot.started.0).collect();
    assert_eq!(kept, [3, 4, 5, 1]);
    assert_eq!(store.log(&node, UnixTime(2)).unwrap(), []);
    assert_eq!(store.log(&node, UnixTime(5)).unwrap()[0].text, "boot 5");
}

#[test]
fn logs_and_events_are_rings() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let node: wulfpack_shared::id::NodeName = "n1".parse().unwrap();
    let lines = (0..LOG_LINES_MAX + 10)
        .map(|n| (node.clone(), UnixTime(1), n, LogLine { at: UnixTime(n), text: n.to_string() }))
        .collect();
    let event = |n: u64| EventRecord { at: UnixTime(n), severity: Severity::Info, node: None, text: String::new() };
    let events = (0..EVENTS_MAX + 5).map(event).collect();
    store.write(&Batch { boots: vec![], lines, events }).unwrap();
    let log = store.log(&node, UnixTime(1)).unwrap();
    assert_eq!((log.len() as u64, log[0].text.as_str()), (LOG_LINES_MAX, "10"));
    let events = store.events(usize::MAX).unwrap();
    assert_eq!((events.len() as u64, events[0].1.at), (EVENTS_MAX, UnixTime(5)));
    let numbered = |n: u64| (n, event(n));
    assert_eq!(store.events(2).unwrap(), [numbered(EVENTS_MAX + 3), numbered(EVENTS_MAX + 4)]);
    assert_eq!(store.events_from(0, 1).unwrap(), [numbered(5)], "the first that is still there");
    assert_eq!(store.events_from(EVENTS_MAX + 4, 9).unwrap(), [numbered(EVENTS_MAX + 4)]);
    assert_eq!(store.events_from(EVENTS_MAX + 5, 9).unwrap(), []);
}

#[test]
fn a_foreign_a_damaged_and_a_used_file_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("foreign");
    std::fs::write(&path, b"something else entirely, long enough to be looked at").unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read(&path).unwrap().len(), 52, "a foreign file is left as it was");

    let path = dir.path().join("other.redb");
    let other = redb::Database::create(&path).unwrap();
    let write = other.begin_write().unwrap();
    write.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    write.commit().unwrap();
    drop(other);
    assert!(RedbStore::open(&path).unwrap_err().to_string().contains("another program"));

    let store = open(&dir);
    let error = RedbStore::open(&dir.path().join("state.redb")).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(store);
}

#[test]
fn a_copy_taken_while_the_head_runs_opens_with_all_that_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.redeem([7; 16], 1, LATER, key(1)).unwrap();
    // What is on disk at this moment is what a SIGKILL would leave.
    let copy = dir.path().join("copy.redb");
    std::fs::copy(dir.path().join("state.redb"), &copy).unwrap();
    let survivor = RedbStore::open(&copy).unwrap();
    assert_eq!(survivor.redeem([7; 16], 1, LATER, key(2)).unwrap(), Redeemed::Taken { by: vec![key(1)] });
    drop(store);
}
