//! From root to the service's own user, before the first thread is started and before the first byte from the network is read.

use std::ffi::CString;
use std::path::Path;

use anyhow::Context as _;
use nix::unistd::{Uid, User, chown, initgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_no_new_privs};

/// Becomes `name` and keeps the right to use low ports and raw sockets, and nothing else. `own` are directories that the user gets.
///
/// Must be called while the process has one thread: capabilities belong to threads. Says in the log what it did, and stays as it is
/// where it is not root or the user does not exist.
pub(super) fn become_user(name: &str, own: &[&Path]) -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        tracing::info!("not started as root: ports below 1024 need CAP_NET_BIND_SERVICE");
        return Ok(());
    }
    let Some(user) = User::from_name(name).with_context(|| format!("cannot look up the user {name}"))? else {
        tracing::warn!(
            user = name,
            "there is no such user: the head stays root; make it with `useradd --system {name}`"
        );
        return Ok(());
    };
    for path in own {
        chown(*path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("cannot give {} to {name}", path.display()))?;
    }
    let login = CString::new(name).context("a user name has no NUL byte")?;
    set_keep_capabilities(true).context("cannot keep capabilities")?;
    initgroups(&login, user.gid).with_context(|| format!("cannot take the groups of {name}"))?;
    setresgid(user.gid, user.gid, user.gid).with_context(|| format!("cannot take the group of {name}"))?;
    setresuid(user.uid, user.uid, user.uid).with_context(|| format!("cannot become {name}"))?;
    let kept = CapabilitySet::NET_BIND_SERVICE | CapabilitySet::NET_RAW;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
        .context("cannot keep CAP_NET_BIND_SERVICE and CAP_NET_RAW")?;
    set_no_new_privs(true).context("cannot forbid new privileges")?;
    tracing::info!(user = name, "the head serves as its own user");
    Ok(())
}
