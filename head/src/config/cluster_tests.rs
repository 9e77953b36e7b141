use std::fs;
use std::time::Duration;

use wulfpack_shared::id::PublicKey;
use wulfpack_shared::identity::{Endorsement, SecretKey};
use wulfpack_shared::time::UnixTime;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn secret(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn public(n: u8) -> PublicKey {
    secret(n).public()
}

/// Key 1, replaced by 2 now.
fn rotated() -> ClusterKeys {
    ClusterKeys::first(secret(1)).rotated(secret(2), NOW, DAY * 14)
}

#[test]
fn the_newest_key_signs_and_the_old_one_is_trusted_until_its_time_is_over() {
    let first = ClusterKeys::first(secret(1));
    assert_eq!((first.public(), first.since(), first.trusted(NOW)), (public(1), None, vec![public(1)]));
    let keys = rotated();
    assert_eq!((keys.public(), keys.since()), (public(2), Some(NOW)));
    assert_eq!(keys.trusted(NOW), [public(2), public(1)]);
    assert_eq!(keys.trusted(NOW + DAY * 14), [public(2), public(1)]);
    assert_eq!(keys.trusted(NOW + DAY * 14 + Duration::from_millis(1)), [public(2)]);
    assert_eq!(keys.time(NOW, &[1; 16]).verify(&[1; 16], &[public(2)]), Ok(NOW));
    assert!(keys.follow(&first) && !first.follow(&keys), "a head takes no step back");
    assert!(!ClusterKeys::first(secret(9)).follow(&first));
}

#[test]
fn dropping_old_keys_ends_their_trust_at_once_and_keeps_what_leads_to_the_new_one() {
    let keys = rotated().without_old(NOW + DAY);
    assert_eq!(keys.trusted(NOW + DAY), [public(2)]);
    assert_eq!(keys.known(), [public(2), public(1)]);
    let again = keys.without_old(NOW + DAY * 30);
    assert_eq!(again.former(), keys.former(), "what has ended stays ended");
}

#[test]
fn a_chain_of_rotations_is_bounded_and_every_remembered_key_leads_to_the_newest() {
    let rotate = |keys: ClusterKeys, n: u8| keys.rotated(secret(n), NOW, DAY * 14);
    let keys = (2..=6).fold(ClusterKeys::first(secret(1)), rotate);
    assert_eq!(keys.known(), [6, 5, 4, 3].map(public));
    let name = "n1".parse().unwrap();
    let membership = crate::join::membership(public(20), name, wulfpack_shared::identity::Role::Node, None, NOW, 0);
    let certificate = keys.certify(&membership);
    for known in [6, 5, 4, 3] {
        assert_eq!(certificate.verify(&[public(known)], &public(20), NOW).unwrap(), membership);
    }
    assert!(certificate.verify(&[public(2)], &public(20), NOW).is_err(), "too long ago");
}

#[test]
fn former_keys_that_do_not_lead_to_the_newest_are_refused() {
    let former = rotated().former().to_vec();
    assert!(ClusterKeys::new(secret(2), former.clone()).is_some());
    assert!(ClusterKeys::new(secret(3), former.clone()).is_none());
    let mut forged = former;
    forged[0].endorsement = Endorsement { signer: public(1), ..Endorsement::sign(public(2), &secret(9)) };
    assert!(ClusterKeys::new(secret(2), forged).is_none());
}

/// A directory of keys with key 1.
fn directory() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    create_dir(&paths.keys(), 0o700).unwrap();
    ClusterKeys::first(secret(1)).store(&paths).unwrap();
    (dir, paths)
}

#[test]
fn keys_are_read_back_as_they_were_written() {
    let (_dir, paths) = directory();
    assert_eq!(ClusterKeys::load(&paths).unwrap().known(), [public(1)]);
    rotated().store(&paths).unwrap();
    let keys = ClusterKeys::load(&paths).unwrap();
    assert_eq!((keys.public(), keys.former()), (public(2), rotated().former()));
    fs::remove_file(paths.former_keys()).unwrap();
    assert_eq!(ClusterKeys::load(&paths).unwrap().known(), [public(2)], "a head set up before keys could be rotated");
    fs::write(paths.former_keys(), "[{}]").unwrap();
    assert!(matches!(ClusterKeys::load(&paths), Err(KeyError::Former { .. })));
}

#[test]
fn a_rotation_that_was_killed_between_its_two_files_has_not_happened_and_can_be_repeated() {
    let (_dir, paths) = directory();
    let (once, twice) = (rotated(), rotated().rotated(secret(3), NOW, DAY));
    for (before, after) in [(ClusterKeys::first(secret(1)), once.clone()), (once, twice)] {
        before.store(&paths).unwrap();
        let key = fs::read(paths.cluster_key()).unwrap();
        after.store(&paths).unwrap();
        // The first of the two files is written, the second not.
        fs::write(paths.cluster_key(), key).unwrap();
        let found = ClusterKeys::load(&paths).unwrap();
        assert_eq!((found.public(), found.former()), (before.public(), before.former()));
        let repeated = found.rotated(secret(7), NOW, DAY);
        repeated.store(&paths).unwrap();
        assert_eq!(ClusterKeys::load(&paths).unwrap().known(), repeated.known());
    }
}

#[test]
fn the_keys_are_changed_by_one_command_at_a_time() {
    let (_dir, paths) = directory();
    let held = KeysLock::take(&paths).unwrap();
    let directory = fs::File::open(paths.keys()).unwrap();
    assert!(directory.try_lock().is_err());
    drop(held);
    assert!(directory.try_lock().is_ok());
}
