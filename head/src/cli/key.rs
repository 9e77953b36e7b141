//! `wulf key`: the keys of cluster and head.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use wulfpack_shared::id::PublicKey;
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::limits::CERTIFICATE_LIFETIME;
use wulfpack_shared::net::clock::ClusterClock;
use wulfpack_shared::time::UnixTime;
use zeroize::Zeroizing;

use super::audit::record_key_deed;
use super::running::ask;
use super::ticket::duration;
use super::{Cell, Context, Style, Table, note, print};
use crate::admin::{ClientError, KeyDeed, KeyInfo, KeysChange};
use crate::config::{ClusterKeys, FormerKey, Keys, KeysLock, Paths, create_new};
use crate::exit::{Ended, Exit};

/// The keys of cluster and head.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Print the public keys: the newest one of the cluster signs, those before it are trusted for a while.
    Show,
    /// Copy all secret keys into one new file that only you can read. Whoever has it is the cluster: keep it offline.
    Backup {
        /// The new file.
        file: PathBuf,
    },
    /// Give the cluster a new key. What it signs counts at once, also for nodes that run; the old key stays trusted for a while.
    Rotate(RotateArgs),
}

/// Arguments of `wulf key rotate`.
#[derive(Args, Debug)]
pub struct RotateArgs {
    /// How long certificates of the old key count, such as 12h or 14d; nodes renew theirs within 7 days.
    #[arg(long, default_value = "14d", value_parser = duration, value_name = "TIME")]
    keep: Duration,
    /// Make no new key: end the time of the old ones now. Nodes that have not renewed drop out of the swarm until they do.
    #[arg(long, conflicts_with = "keep")]
    drop_old: bool,
}

#[derive(Serialize)]
struct Shown {
    cluster: PublicKey,
    /// When it took over; nothing for the first one.
    cluster_since: Option<UnixTime>,
    head: PublicKey,
    /// Keys of the cluster before that one, the latest first.
    former: Vec<ShownFormer>,
}

#[derive(Serialize)]
struct ShownFormer {
    key: PublicKey,
    since: Option<UnixTime>,
    until: UnixTime,
    trusted: bool,
}

impl Shown {
    fn of(cluster: &ClusterKeys, head: PublicKey, now: UnixTime) -> Self {
        let former = cluster.former();
        // Each took over when the one before it was replaced.
        let since = former.iter().skip(1).map(|before| Some(before.replaced)).chain([None]);
        let trusted = cluster.trusted(now);
        let shown = |(one, since): (&FormerKey, _)| ShownFormer {
            key: one.key,
            since,
            until: one.until,
            trusted: trusted.contains(&one.key),
        };
        let former = former.iter().zip(since).map(shown).collect();
        Self { cluster: cluster.public(), cluster_since: cluster.since(), head, former }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(["key", "", "since", "trusted until"]);
        let public = |key: &PublicKey| Cell::new(key.to_string());
        table.row(["cluster".into(), public(&self.cluster), Cell::or_dash(self.cluster_since), "-".into()]);
        for former in &self.former {
            let until = Cell::new(former.until.to_string());
            let until = if former.trusted { until } else { until.style(Style::Dim) };
            table.row(["former".into(), public(&former.key), Cell::or_dash(former.since), until]);
        }
        table.row(["head".into(), public(&self.head), "-".into(), "-".into()]);
        table
    }
}

impl KeyCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let paths = context.load_config()?.paths;
        // Also before a backup: what is not whole is not worth keeping.
        let keys = Keys::load(&paths)?;
        match self {
            Self::Show => {
                let shown = Shown::of(&keys.cluster, keys.head.public(), now());
                print(context, &shown, || shown.table())?;
            }
            Self::Backup { file } => {
                let absolute = std::path::absolute(&file).unwrap_or_else(|_| file.clone());
                record_key_deed(context, &KeyDeed::Backup { file: absolute.display().to_string() })?;
                backup(&paths, &keys, &file)?;
            }
            Self::Rotate(args) => args.run(context, &paths)?,
        }
        Ok(Exit::Ok.into())
    }
}

fn now() -> UnixTime {
    ClusterClock::system().now()
}

fn backup(paths: &Paths, keys: &Keys, file: &Path) -> anyhow::Result<()> {
    let mut files = vec![paths.cluster_key(), paths.head_key(), paths.ssh_key()];
    let mut what = "its three blocks into cluster.key, head.key and ssh.key".to_owned();
    if !keys.cluster.former().is_empty() {
        files.push(paths.former_keys());
        what.push_str(", and its last line into cluster.former.json,");
    }
    let mut all = Zeroizing::new(vec![]);
    for path in files {
        let text = Zeroizing::new(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        all.extend_from_slice(&text);
    }
    create_new(file, &all, 0o600).with_context(|| format!("cannot create {}", file.display()))?;
    let keys = paths.keys();
    note(&format!("wrote {}: to restore, put {what} in {} (mode 0600)", file.display(), keys.display()));
    Ok(())
}

impl RotateArgs {
    fn run(self, context: &Context, paths: &Paths) -> anyhow::Result<()> {
        let _lock = KeysLock::take(paths)?;
        // Read under the lock.
        let (before, now) = (Keys::load(paths)?.cluster, now());
        let after = if self.drop_old {
            if before.trusted(now).len() == 1 {
                return Err(Ended::new(Exit::NothingMatched, "only the newest key is trusted: nothing to drop").into());
            }
            before.without_old(now)
        } else {
            let fresh = SecretKey::generate().map_err(|error| anyhow!("no random numbers from the system: {error}"))?;
            before.rotated(fresh, now, self.keep)
        };
        record_key_deed(context, &KeyDeed::Rotate { trusted: after.trusted(now) })?;
        after.store(paths)?;
        self.tell(&after);
        tell_head(context, &after)
    }

    fn tell(&self, after: &ClusterKeys) {
        let key = after.public();
        if self.drop_old {
            note(&format!("only {key:.16} is trusted now; nodes that run forget older keys with their next boot"));
            return;
        }
        note(&format!("{key:.16} is the cluster's key now; the backup of the keys is out of date: `wulf key backup`"));
        if self.keep < CERTIFICATE_LIFETIME {
            note(
                "warning: nodes renew within 7 days; those that have not when the old key's time ends drop out until they do",
            );
        }
    }
}

/// The running head gave up the right to read the files: it is handed the keys.
fn tell_head(context: &Context, keys: &ClusterKeys) -> anyhow::Result<()> {
    let told = ask(context, async |client| {
        let told: Result<KeyInfo, ClientError> = client.post("/v1/key", &KeysChange::of(keys)).await;
        Ok(told)
    })?;
    match told {
        Ok(_) => note("the running head has taken it up"),
        Err(ClientError::NotRunning { why, .. }) if why.kind() != io::ErrorKind::PermissionDenied => {
            note("no head runs here; it takes effect when it starts");
        }
        Err(error) => bail!("the keys are changed on disk, but the running head does not know: {error}. Restart it"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::OutputFormat;
    use crate::config::{KeyRole, create_dir, create_key};

    #[test]
    fn a_rotation_is_on_disk_is_shown_and_can_be_ended_early() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let context = Context { config: paths.etc.join("wulfpack.yaml"), output: OutputFormat::Json, yes: false };
        for dir in [&paths.etc, &paths.state, &paths.keys()] {
            create_dir(dir, 0o700).unwrap();
        }
        fs::write(&context.config, format!("paths: {}", serde_json::to_string(&paths).unwrap())).unwrap();
        for (path, role) in [
            (paths.cluster_key(), KeyRole::Cluster),
            (paths.head_key(), KeyRole::Head),
            (paths.ssh_key(), KeyRole::Ssh),
        ] {
            create_key(&path, role).unwrap();
        }
        let keys = || Keys::load(&paths).unwrap();
        let first = keys().cluster.public();
        let rotate = |drop_old| RotateArgs { keep: Duration::from_secs(3600), drop_old }.run(&context, &paths);
        assert!(rotate(true).unwrap_err().to_string().contains("nothing to drop"));
        rotate(false).unwrap();
        let cluster = keys().cluster;
        assert_ne!(cluster.public(), first);
        assert_eq!(cluster.trusted(now()), [cluster.public(), first]);
        let shown = Shown::of(&cluster, keys().head.public(), now());
        assert_eq!((shown.former[0].key, shown.former[0].since, shown.former[0].trusted), (first, None, true));
        assert_eq!(shown.cluster_since.unwrap() + Duration::from_secs(3600), shown.former[0].until);
        assert_eq!(shown.table().render(false).lines().count(), 4);
        rotate(true).unwrap();
        assert_eq!(keys().cluster.trusted(now()), [cluster.public()]);
        let file = dir.path().join("backup");
        backup(&paths, &keys(), &file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!((text.matches("-----BEGIN").count(), text.lines().count()), (3, 10));
    }
}
