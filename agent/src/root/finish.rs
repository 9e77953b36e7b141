//! What makes the root this node's: identity, and the marks that nothing needs updating.

use std::path::Path;

use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, Timespec, Timestamps, fstat, utimensat};
use rustix::io::Errno;
use rustix::system::sethostname;
use wulfpack_shared::overlay::{Entry, EntryKind};
use wulfpack_shared::wire::NodeSettings;

use super::error::RootError;
use crate::overlay::{RootDir, apply_entries};

/// Name of these entries in messages.
const OVERLAY: &str = "(node identity)";

fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0, secret: false }
}

/// Sets the host name, writes `/etc/machine-id` (and makes D-Bus's a link to it), and marks `/etc` and `/var` as
/// updated for this `/usr`, so that systemd's `ConditionNeedsUpdate=` is false. Call it after the overlays: they may
/// change `/usr`.
///
/// # Errors
/// The first step that failed.
pub fn finish(newroot: &Path, settings: &NodeSettings) -> Result<(), RootError> {
    sethostname(settings.hostname.as_bytes())
        .map_err(RootError::during(format_args!("set the host name to {}", settings.hostname)))?;
    let root = RootDir::open(newroot).map_err(RootError::during("open the root"))?;
    let id = format!("{}\n", HEXLOWER.encode(&settings.machine_id));
    let mut entries = vec![entry("etc/machine-id", EntryKind::File(id.into()), 0o444)];
    match root.dir("var/lib/dbus", false) {
        Ok(_) => entries.push(entry("var/lib/dbus/machine-id", EntryKind::Symlink("/etc/machine-id".into()), 0o777)),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(RootError::during("open /var/lib/dbus in the root")(error)),
    }
    write(&root, &entries)?;
    mark_updated(&root)
}

fn write(root: &RootDir, entries: &[Entry]) -> Result<(), RootError> {
    apply_entries(root, OVERLAY, entries)
        .map(drop)
        .map_err(|error| RootError { what: format!("{} /{}", error.what, error.path), source: error.source })
}

/// As systemd-update-done.service(8) does: a file with the time of /usr, and with that time.
fn mark_updated(root: &RootDir) -> Result<(), RootError> {
    let during = || RootError::during("mark /etc and /var as updated");
    let usr = match root.dir("usr", false) {
        Ok(usr) => fstat(&usr).map_err(during())?,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(during()(error)),
    };
    let nanos = i64::try_from(usr.st_mtime_nsec).unwrap_or_default();
    let text = format!(
        "# Written by wulf-agent. See man:systemd-update-done.service(8) for details.\nTIMESTAMP_NSEC={}\n",
        i128::from(usr.st_mtime) * 1_000_000_000 + i128::from(nanos)
    );
    let time = Timespec { tv_sec: usr.st_mtime, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    for dir in ["etc", "var"] {
        let path = format!("{dir}/.updated");
        write(root, &[entry(&path, EntryKind::File(text.clone().into()), 0o644)])?;
        let dir = root.dir(dir, false).map_err(during())?;
        utimensat(&dir, ".updated", &times, AtFlags::SYMLINK_NOFOLLOW).map_err(during())?;
    }
    Ok(())
}
