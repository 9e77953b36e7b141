//! `wulf key`: the keys of cluster and head.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;
use wulfpack_shared::id::PublicKey;
use zeroize::Zeroizing;

use super::audit::record_key_backup;
use super::{Cell, Context, Table, note, print};
use crate::config::{Keys, create_new};
use crate::exit::Exit;

/// The keys of cluster and head.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Print the public keys.
    Show,
    /// Copy all secret keys into one new file that only you can read. Whoever has it is the cluster: keep it offline.
    Backup {
        /// The new file.
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct Shown {
    cluster: PublicKey,
    head: PublicKey,
}

impl KeyCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let paths = context.load_config()?.paths;
        // Also before a backup: what is not whole is not worth keeping.
        let keys = Keys::load(&paths)?;
        match self {
            Self::Show => {
                let shown = Shown { cluster: keys.cluster.public(), head: keys.head.public() };
                print(context, &shown, || {
                    let mut table = Table::pairs();
                    table.row(["cluster".into(), Cell::new(shown.cluster.to_string())]);
                    table.row(["head".into(), Cell::new(shown.head.to_string())]);
                    table
                })?;
            }
            Self::Backup { file } => {
                record_key_backup(context, &file)?;
                let mut all = Zeroizing::new(vec![]);
                for path in [paths.cluster_key(), paths.head_key(), paths.ssh_key()] {
                    let text =
                        Zeroizing::new(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
                    all.extend_from_slice(&text);
                }
                create_new(&file, &all, 0o600).with_context(|| format!("cannot create {}", file.display()))?;
                let keys = paths.keys();
                note(&format!(
                    "wrote {}: to restore, put its three blocks into cluster.key, head.key and ssh.key in {} (mode 0600)",
                    file.display(),
                    keys.display()
                ));
            }
        }
        Ok(Exit::Ok.into())
    }
}
