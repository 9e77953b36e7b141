//! NFS exports (exports(5)), in a file of their own below `/etc/exports.d`.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::files::FileChange;
use crate::config::Config;

const HEAD: &str = "# Written by `wulf configure nfs` from `nfs: exports` of wulfpack.yaml; changes here are lost.\n";

/// The file at `path` with the configured exports; `networks` are those of the head, for exports that name no client.
///
/// # Errors
/// It cannot be read.
pub fn exports(path: PathBuf, config: &Config, networks: &[Ipv4Net]) -> io::Result<FileChange> {
    let own: BTreeSet<String> = networks.iter().map(|net| net.trunc().to_string()).collect();
    let mut text = HEAD.to_owned();
    for (dir, export) in &config.nfs.exports {
        let clients: Vec<&String> =
            if export.clients.is_empty() { own.iter().collect() } else { export.clients.iter().collect() };
        if clients.is_empty() {
            text.push_str(&format!("# {}: no interface is configured, and no client is named\n", dir.display()));
            continue;
        }
        let clients: Vec<String> = clients.into_iter().map(|client| format!("{client}({})", export.options)).collect();
        text.push_str(&format!("{} {}\n", quoted(&dir.display().to_string()), clients.join(" ")));
    }
    if config.nfs.exports.is_empty() && !path.exists() {
        // Nobody wants an empty file.
        return Ok(FileChange { path, before: None, after: String::new(), mode: 0o644, changes: false });
    }
    FileChange::whole(path, text, 0o644)
}

/// A path with blanks stands in quotation marks.
fn quoted(path: &str) -> String {
    if path.contains(char::is_whitespace) { format!("\"{path}\"") } else { path.to_owned() }
}
