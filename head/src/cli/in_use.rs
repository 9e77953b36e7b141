//! Which image versions running nodes use: the running head knows; while none runs, its state does.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use wulfpack_shared::id::PublicKey;

use super::Context;
use super::running::ask;
use crate::exit::{Ended, Exit};
use crate::fleet::{Fleet, VersionUse, versions_in_use};
use crate::store::{RedbStore, Store};

/// Asks the head, else looks at its state. An error means that it is not known, and that nothing may be removed.
pub(super) fn in_use(context: &Context) -> anyhow::Result<Vec<VersionUse>> {
    let answer = ask(context, async |client| Ok(client.get("/v1/versions").await?));
    match answer {
        // It may run all the same, and be out of reach only: then its state is in use, or not for us to read.
        Err(error) if Ended::code_of(&error) == Exit::HeadUnreachable => {
            from_state(&context.load_config()?.paths.store()).with_context(|| format!("{error:#}"))
        }
        other => other,
    }
}

fn from_state(path: &Path) -> anyhow::Result<Vec<VersionUse>> {
    match path.metadata() {
        // A head that never served has no nodes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
        Ok(_) => {}
    }
    let store = RedbStore::open(path)?;
    let members: BTreeSet<PublicKey> = store.members()?.into_iter().map(|member| member.key).collect();
    let revoked = store.revocations()?.keys;
    let is_member = |key: &PublicKey| members.contains(key) && !revoked.contains(key);
    Ok(versions_in_use(&Fleet::new(store.boots()?), is_member, []))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wulfpack_shared::id::{BootId, VersionId};
    use wulfpack_shared::identity::Role;
    use wulfpack_shared::time::UnixTime;

    use super::*;
    use crate::fleet::BootRecord;
    use crate::store::{Batch, Member};

    const KEY: PublicKey = PublicKey([7; 32]);

    /// State of a head that admitted n1 for version 1.
    fn state(path: &Path) -> RedbStore {
        let store = RedbStore::open(path).unwrap();
        let mut boot = BootRecord::new("n1".parse().unwrap(), UnixTime(1));
        (boot.key, boot.image) = (Some(KEY), Some(VersionId([1; 32])));
        store.write(&Batch { boots: vec![boot], ..Batch::default() }).unwrap();
        let (name, role) = ("n1".parse().unwrap(), Role::Node);
        let (boot, nonce, issued, not_after) = (BootId([1; 16]), [1; 16], UnixTime(1), UnixTime(2));
        store.put_member(&Member { key: KEY, name, role, rack: None, boot, nonce, issued, not_after }).unwrap();
        store
    }

    #[test]
    fn the_state_says_who_was_up_and_is_not_made_where_it_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        assert_eq!(from_state(&path).unwrap(), []);
        assert!(!path.exists());
        let store = state(&path);
        assert!(from_state(&path).unwrap_err().to_string().contains("in use"), "of a head that runs");
        drop(store);
        assert_eq!(from_state(&path).unwrap()[0].nodes, ["n1".parse().unwrap()]);
        RedbStore::open(&path).unwrap().revoke(&[(KEY, UnixTime(9))]).unwrap();
        assert_eq!(from_state(&path).unwrap(), [], "it was locked out");
        fs::write(&path, "not a state file, and long enough to be looked at").unwrap();
        assert!(from_state(&path).is_err());
    }
}
