//! Records of what commands do without the head: it writes them if it runs, else the command does.

use std::path::Path;

use anyhow::Context as _;
use wulfpack_shared::net::clock::ClusterClock;

use super::Context;
use super::running::ask;
use crate::admin::{KeyBackup, key_backup_record, user_name};
use crate::exit::{Ended, Exit};
use crate::store::{RedbStore, Store};

/// Records that all secret keys are about to be copied to `file`. An error means that there is no record, and must be no copy.
pub(super) fn record_key_backup(context: &Context, file: &Path) -> anyhow::Result<()> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.into());
    let backup = KeyBackup { file: file.display().to_string() };
    let asked: anyhow::Result<KeyBackup> =
        ask(context, async |client| Ok(client.post("/v1/key/backup", &backup).await?));
    match asked {
        // It may run all the same, and be out of reach only: then its state is in use, or not for us to write.
        Err(error) if Ended::code_of(&error) == Exit::HeadUnreachable => {
            let write = || -> anyhow::Result<()> {
                let store = RedbStore::open(&context.load_config()?.paths.store())?;
                let who = user_name(nix::unistd::geteuid().as_raw());
                Ok(store.audit(&key_backup_record(ClusterClock::system().now(), who, &backup))?)
            };
            write().context("keys are copied only where that can be recorded")
        }
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::cli::Wulf;
    use crate::config::Paths;

    #[test]
    fn a_copy_of_the_keys_is_recorded_also_while_no_head_runs() {
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
        let state = Paths::below(dir.path()).store();
        let records = RedbStore::open(&state).unwrap().audits(9).unwrap();
        assert_eq!((records.len(), records[0].what.as_str()), (1, "key-backup"));
        assert!(!records[0].who.is_empty() && records[0].detail.ends_with("all.keys"));

        fs::write(&state, "not a state file, and long enough to be looked at").unwrap();
        assert!(wulf(&["key", "backup", &path("more.keys")]).is_err());
        assert!(!Path::new(&path("more.keys")).exists(), "no copy without its record");
    }
}
