//! SSH between head and nodes: a key of root's, who may log in to nodes, and the host keys of nodes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wulfpack_shared::identity::SecretKey;

use super::commands::Run;
use super::files::FileChange;
use crate::config::{Config, Paths};
use crate::overlay::HostKey;
use crate::registry::Snapshot;

/// The public keys in a home directory, a line each; what cannot be read is not there.
pub fn public_keys(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join(".ssh")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    files.sort();
    let texts = files.iter().filter_map(|path| fs::read_to_string(path).ok());
    let lines = texts.flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What makes a key of each type for root, where there is none of it. Without a passphrase: `wulf ssh` works unattended.
pub fn keygen(home: &Path, types: &[String]) -> Vec<Run> {
    let missing = types.iter().filter_map(|kind| {
        let path = home.join(format!(".ssh/id_{kind}"));
        let run = Run::new(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", &path.display().to_string()],
            "a key for root of this head",
        );
        (!path.exists()).then_some(run)
    });
    missing.collect()
}

/// `authorized_keys` of nodes with these keys added; none is taken out.
///
/// # Errors
/// It cannot be read.
pub fn authorized_keys(paths: &Paths, keys: &[String]) -> io::Result<FileChange> {
    let path = paths.authorized_keys();
    let mut change = FileChange::whole(path, String::new(), 0o644)?;
    let before = change.before.clone().unwrap_or_default();
    // A key is the same whatever its comment says.
    let same = |line: &str, key: &str| line.contains(key.split_whitespace().nth(1).unwrap_or(key));
    let fresh = keys.iter().filter(|key| !before.lines().any(|line| same(line, key)));
    let mut after = before.clone();
    if !after.is_empty() && !after.ends_with('\n') {
        after.push('\n');
    }
    after.extend(fresh.map(|key| format!("{key}\n")));
    change.changes = after != before;
    change.after = after;
    Ok(change)
}

/// The host keys of all nodes for the head's `ssh_known_hosts` (sshd(8)): they are derived, and so known before a node boots.
///
/// # Errors
/// The file cannot be read, or our marks in it do not fit together.
pub fn known_hosts(path: PathBuf, config: &Config, snapshot: &Snapshot, secret: &SecretKey) -> io::Result<FileChange> {
    let mut lines = String::new();
    for node in snapshot.nodes() {
        let mut names = vec![node.name.to_string()];
        if !config.domain.is_empty() {
            names.push(format!("{}.{}", node.name, config.domain));
        }
        let addresses = node.interfaces.iter().flat_map(|interface| [interface.ip, interface.ip6]);
        names.extend(addresses.flatten().map(|ip| ip.to_string()));
        let public = HostKey::derive(secret, &node.name).public();
        let key = public.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        lines.push_str(&format!("{} {key}\n", names.join(",")));
    }
    FileChange::block(path, &lines, 0o644)
}
