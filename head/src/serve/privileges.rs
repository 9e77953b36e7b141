//! From root to the service's own user, before the first thread is started and before the first byte from the network is read.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use nix::unistd::{Uid, User, chown, initgroups, setresgid, setresuid};
use rustix::process::{parent_process_death_signal, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_no_new_privs};

use crate::config::{Paths, check_readable};

/// All that the head may do beyond any other user.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE.union(CapabilitySet::NET_RAW);

/// Becomes `name` and keeps the right to use low ports and raw sockets, and nothing else. The directories of sockets and of
/// packed agents become the user's.
///
/// Must be called while the process has one thread: capabilities belong to threads. Says in the log what it did, and stays as it is
/// where it is not root or the user does not exist.
///
/// # Errors
/// The system refuses a step, or the user could not read what a running head reads.
pub(super) fn become_user(name: &str, paths: &Paths) -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        tracing::info!(
            "not started as root: ports below 1024 need CAP_NET_BIND_SERVICE, DHCP and IPv6 need CAP_NET_RAW"
        );
        return Ok(());
    }
    let Some(user) = User::from_name(name).with_context(|| format!("cannot look up the user {name}"))? else {
        tracing::warn!(user = name, "there is no such user: the head stays root; `wulf init` makes it");
        return Ok(());
    };
    if user.uid.is_root() {
        tracing::warn!(user = name, "the configuration wants the head to stay root");
        return Ok(());
    }
    for own in [&paths.run, &paths.packed_agents()] {
        let owner = fs::metadata(own).with_context(|| format!("cannot read {}", own.display()))?.uid();
        if owner == user.uid.as_raw() {
            continue;
        }
        // In this order: the right to change what belongs to others is not among those that the unit leaves to root.
        fs::set_permissions(own, Permissions::from_mode(0o750))
            .and_then(|()| Ok(chown(own.as_path(), Some(user.uid), Some(user.gid))?))
            .with_context(|| format!("cannot give {} to {name}", own.display()))?;
    }
    change_user(&user)?;
    tracing::info!(user = name, "the head serves as its own user");
    check_readable(paths).map_err(|(path, error)| unreadable(name, &path, error))
}

fn change_user(user: &User) -> anyhow::Result<()> {
    let name = &user.name;
    let login = CString::new(name.as_str()).context("a user name has no NUL byte")?;
    // The kernel forgets it with the user (prctl(2)); who started the head to end with it still wants that.
    let with_parent = parent_process_death_signal().context("cannot read the parent-death signal")?;
    set_keep_capabilities(true).context("cannot keep capabilities")?;
    initgroups(&login, user.gid).with_context(|| format!("cannot take the groups of {name}"))?;
    setresgid(user.gid, user.gid, user.gid).with_context(|| format!("cannot take the group of {name}"))?;
    setresuid(user.uid, user.uid, user.uid).with_context(|| format!("cannot become {name}"))?;
    set_capabilities(None, CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() })
        .context("cannot keep CAP_NET_BIND_SERVICE and CAP_NET_RAW")?;
    set_no_new_privs(true).context("cannot forbid new privileges")?;
    set_parent_process_death_signal(with_parent).context("cannot set the parent-death signal again")
}

fn unreadable(user: &str, path: &Path, error: std::io::Error) -> anyhow::Error {
    let advice = format!(
        "the head's user {user} cannot read {}; `wulf init` lets it, if every directory above can be entered",
        path.display()
    );
    anyhow::Error::new(error).context(advice)
}
