//! The hosts file (hosts(5)): nodes and devices by name, where no name service knows them.

use std::io;
use std::path::PathBuf;

use super::files::FileChange;
use crate::config::Config;
use crate::overlay::host_lines;
use crate::registry::Snapshot;

/// The hosts file at `path` with all nodes and devices.
///
/// # Errors
/// It cannot be read, or our marks in it do not fit together.
pub fn hosts(path: PathBuf, config: &Config, snapshot: &Snapshot) -> io::Result<FileChange> {
    let mut lines = host_lines(snapshot, &config.domain);
    for (name, device) in &config.dhcp.reservations {
        lines.push_str(&format!("\n{} {name}", device.ipaddr));
    }
    FileChange::block(path, &lines, 0o644)
}
