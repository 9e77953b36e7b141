//! Directories, keys, and who may read them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::User;

use super::model::Group;
use crate::config::{Config, KeyError, KeyRole, load_key};

/// Permission bits that others than root and the head's group must not have.
const OTHERS: u32 = 0o007;
/// Those that nobody but the owner must have.
const ALL_BUT_OWNER: u32 = 0o077;

/// Looks at everything that `wulf init` makes.
pub(super) fn check(config: &Config) -> Group {
    let mut group = Group::new("files");
    directories(config, &mut group);
    keys(config, &mut group);
    registry_files(config, &mut group);
    service_user(config, &mut group);
    group
}

fn directories(config: &Config, group: &mut Group) {
    let paths = &config.paths;
    let mut found = 0;
    for (path, forbidden, what) in [
        (paths.etc.clone(), 0o022, "configuration"),
        (paths.state.clone(), 0o022, "state"),
        (paths.images(), OTHERS, "images, which hold password hashes and keys"),
        (paths.keys(), ALL_BUT_OWNER, "secret keys"),
        (paths.overlays.clone(), OTHERS, "overlays, which may hold secrets"),
        (paths.history(), OTHERS, "states of the registry, which hold passwords of controllers"),
    ] {
        let place = path.display();
        match fs::metadata(&path) {
            Ok(data) if !data.is_dir() => {
                group.bad(place.to_string(), "is no directory", "move it away, then: wulf init")
            }
            Ok(data) if data.mode() & forbidden != 0 => {
                let wrong = data.mode() & 0o7777 & forbidden;
                let found = format!("mode {:04o} lets others in: {what}", data.mode() & 0o7777);
                group.bad(place.to_string(), found, format!("chmod {:o} {place}", data.mode() & 0o7777 & !wrong));
            }
            Ok(_) => found += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                group.bad(place.to_string(), format!("is missing: {what}"), "wulf init");
            }
            Err(error) => group.skipped(place.to_string(), error.to_string()),
        }
    }
    if found > 0 {
        group.ok("directories", format!("{found} are there, with the modes that they need"));
    }
}

fn keys(config: &Config, group: &mut Group) {
    let paths = &config.paths;
    for (path, role, what) in [
        (paths.cluster_key(), KeyRole::Cluster, "key of the cluster"),
        (paths.head_key(), KeyRole::Head, "key of this head"),
        (paths.ssh_key(), KeyRole::Ssh, "secret behind the SSH host keys of nodes"),
    ] {
        let place = path.display();
        match load_key(&path, role) {
            Ok(_) => group.ok(what, format!("{place}, private")),
            Err(error) if is_missing(&path) => {
                let fix =
                    format!("put your backup back (wulf key backup made it); for a new cluster: wulf init ({error})");
                group.bad(what, format!("{place} is missing"), fix);
            }
            Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                group.skipped(what, "only root can read it");
            }
            Err(error) => {
                let open = fs::metadata(&path).is_ok_and(|data| data.mode() & ALL_BUT_OWNER != 0);
                let fix = if open {
                    format!("chmod 600 {place}; whoever read it can be the cluster: wulf key rotate")
                } else {
                    "put your backup back".into()
                };
                group.bad(what, error.to_string(), fix);
            }
        }
    }
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn registry_files(config: &Config, group: &mut Group) {
    let nodes = config.paths.nodes_file();
    match fs::metadata(&nodes) {
        Ok(data) if data.mode() & OTHERS != 0 => {
            let found = format!(
                "{} is open to everybody (mode {:04o}) and holds passwords of controllers",
                nodes.display(),
                data.mode() & 0o7777
            );
            group.bad("nodes.yaml", found, format!("chmod o= {}", nodes.display()));
        }
        Ok(_) => group.ok("nodes.yaml", nodes.display().to_string()),
        Err(error) => group.bad("nodes.yaml", format!("{}: {error}", nodes.display()), "wulf init"),
    }
    let keys = config.paths.authorized_keys();
    let text = fs::read_to_string(&keys).unwrap_or_default();
    let count = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
    if count == 0 {
        let fix = "wulf configure ssh, or put public keys into that file";
        group.warning("logins", format!("{} names no key: nobody can log in to nodes as root", keys.display()), fix);
    } else {
        group.ok("logins", format!("{count} keys may log in to nodes as root"));
    }
}

/// The service gives up root: what it needs must be readable to its own user.
fn service_user(config: &Config, group: &mut Group) {
    let name = &config.user;
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => {
            return group.warning(
                "service user",
                format!("there is no user {name}: the service stays root"),
                "wulf init, as root",
            );
        }
        Err(error) => return group.skipped("service user", error.to_string()),
    };
    let gid = user.gid.as_raw();
    let closed: Vec<PathBuf> = readable(config)
        .into_iter()
        .filter(|(path, bits)| {
            let Ok(data) = fs::metadata(path) else { return false };
            let others = data.mode() & (bits >> 3) == bits >> 3;
            let group = data.gid() == gid && data.mode() & bits == *bits;
            let own = data.uid() == user.uid.as_raw();
            !(others || group || own)
        })
        .map(|(path, _)| path)
        .collect();
    match closed.first() {
        None => group.ok("service user", format!("{name} can read registry, images and overlays, and no key")),
        Some(first) => {
            let found = format!(
                "{name} cannot read {} ({} such paths): the service fails or serves nothing of it",
                first.display(),
                closed.len()
            );
            group.bad("service user", found, "wulf init, as root");
        }
    }
}

/// What the service reads, with the bits that its group needs.
fn readable(config: &Config) -> Vec<(PathBuf, u32)> {
    let paths = &config.paths;
    let mut all = vec![(paths.nodes_file(), 0o040), (paths.images(), 0o050), (paths.overlays.clone(), 0o050)];
    for entry in fs::read_dir(paths.images()).into_iter().flatten().flatten() {
        let versions = entry.path().join("versions");
        if versions.is_dir() {
            all.push((entry.path(), 0o050));
            let each = fs::read_dir(&versions).into_iter().flatten().flatten();
            all.extend(each.map(|version| (version.path(), 0o050)));
            all.push((versions, 0o050));
        }
    }
    all
}
