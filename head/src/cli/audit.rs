//! Records of what commands do without the head: it writes them if it runs, else the command does.

use anyhow::Context as _;
use wulfpack_shared::net::clock::ClusterClock;

use super::Context;
use super::running::ask;
use crate::admin::{KeyDeed, key_record, user_name};
use crate::exit::{Ended, Exit};
use crate::store::{RedbStore, Store};

/// Records what is about to be done with the secret keys. An error means that there is no record, and must be no deed.
pub(super) fn record_key_deed(context: &Context, deed: &KeyDeed) -> anyhow::Result<()> {
    let asked: anyhow::Result<KeyDeed> = ask(context, async |client| Ok(client.post("/v1/key/record", deed).await?));
    match asked {
        // It may run all the same, and be out of reach only: then its state is in use, or not for us to write.
        Err(error) if Ended::code_of(&error) == Exit::HeadUnreachable => {
            let write = || -> anyhow::Result<()> {
                let store = RedbStore::open(&context.load_config()?.paths.store())?;
                let who = user_name(nix::unistd::geteuid().as_raw());
                Ok(store.audit(&key_record(ClusterClock::system().now(), who, deed))?)
            };
            write().context("keys are copied and changed only where that can be recorded")
        }
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::Wulf;
    use crate::config::Paths;

    #[test]
    fn what_is_done_with_the_keys_is_recorded_also_while_no_head_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (config, file) = (path("wulfpack.yaml"), path("all.keys"));
        let wulf = |args: &[&str]| {
            let line = ["wulf", "--config", &config, "--yes"];
            Wulf::try_parse_from(line.iter().chain(args)).unwrap().run()
        };
        wulf(&["init", "--below", dir.path().to_str().unwrap()]).unwrap();
        wulf(&["key", "backup", &file]).unwrap();
        assert!(fs::read(&file).unwrap().len() > 100);
        let paths = Paths::below(dir.path());
        let cluster = || fs::read(paths.cluster_key()).unwrap();
        let first = cluster();
        wulf(&["key", "rotate"]).unwrap();
        let second = cluster();
        assert_ne!(first, second);
        let state = paths.store();
        let records = RedbStore::open(&state).unwrap().audits(9).unwrap();
        assert_eq!(records.iter().map(|record| record.what.as_str()).collect::<Vec<_>>(), ["key-backup", "key-rotate"]);
        assert!(!records[0].who.is_empty() && records[0].detail.ends_with("all.keys"));
        assert_eq!(records[1].detail.matches(", ").count(), 2, "{}", records[1].detail);

        fs::write(&state, "not a state file, and long enough to be looked at").unwrap();
        assert!(wulf(&["key", "backup", &path("more.keys")]).is_err());
        assert!(!Path::new(&path("more.keys")).exists(), "no copy without its record");
        assert!(wulf(&["key", "rotate"]).is_err() && cluster() == second, "no change either");
    }
}
