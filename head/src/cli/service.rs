//! What `wulf init` prepares for the service: its own user, and the systemd unit.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::unistd::{Uid, User};

use crate::config::{Config, Paths};

/// Where an administrator's units lie.
pub(super) const UNIT: &str = "/etc/systemd/system/wulfpack.service";
const TEMPLATE: &str = include_str!("../../assets/units/wulfpack.service");
/// Places that the unit's sandbox hides (`ProtectHome=`, `PrivateTmp=`).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Makes the user that `wulf serve` becomes; `false` where there is one, or none can be made by this process.
pub(super) fn make_user(config: &Config) -> anyhow::Result<bool> {
    let name = &config.user;
    let known = User::from_name(name).with_context(|| format!("cannot look up the user {name}"))?;
    if known.is_some() || !Uid::effective().is_root() {
        return Ok(false);
    }
    let mut useradd = Command::new("useradd");
    useradd.args(["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "--home-dir"]);
    useradd.arg(&config.paths.state).args(["--", name]);
    let made = match useradd.stdin(Stdio::null()).output() {
        // Then it is somebody else's task, and who starts the service without it is told so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.context("cannot start useradd")?,
    };
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr);
        bail!("cannot make the system user {name}: useradd: {}", why.trim());
    }
    Ok(true)
}

/// The unit that runs this program with this configuration.
pub(super) fn unit(paths: &Paths, config: &Path) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot find this program")?;
    if let Some(place) = HIDDEN.iter().find(|place| program.starts_with(place)) {
        bail!(
            "{} lies in {place}, which the unit's sandbox hides: install it, such as by `install {0} /usr/local/bin/wulf`, and \
             run that one",
            program.display()
        );
    }
    render(&program, paths, config)
}

fn render(program: &Path, paths: &Paths, config: &Path) -> anyhow::Result<String> {
    let word = |path: &Path| -> anyhow::Result<String> {
        let text = path.to_str().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
        if text.is_empty() || !text.bytes().all(plain) {
            bail!("{} cannot stand in a systemd unit: use a path of letters, digits and /._-+@", path.display());
        }
        Ok(text.to_owned())
    };
    let defaults = Paths::default();
    let named = if config.parent() == Some(&defaults.etc) && config.ends_with("wulfpack.yaml") {
        String::new()
    } else {
        format!("--config {} ", word(config)?)
    };
    let writable = [&paths.state, &paths.run].map(|path: &PathBuf| word(path));
    let [state, run] = writable;
    let (state, run) = (state?, run?);
    let mut text = String::with_capacity(TEMPLATE.len());
    for line in TEMPLATE.lines() {
        let key = line.split('=').next().unwrap_or_default();
        match key {
            "ExecStart" => text.push_str(&format!("ExecStart={} {named}serve", word(program)?)),
            "ReadWritePaths" => text.push_str(&format!("ReadWritePaths={state} {run}")),
            // systemd makes directories below /run only.
            "RuntimeDirectory" | "RuntimeDirectoryMode" if paths.run != defaults.run => continue,
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_runs_this_program_with_this_configuration() {
        let etc = Path::new("/etc/wulfpack/wulfpack.yaml");
        let text = render(Path::new("/usr/bin/wulf"), &Paths::default(), etc).unwrap();
        assert_eq!(text, TEMPLATE, "installed as a package would");
        let moved = Paths::below(Path::new("/srv/head"));
        let text = render(Path::new("/usr/local/bin/wulf"), &moved, Path::new("/srv/wulf.yaml")).unwrap();
        assert!(text.contains("\nExecStart=/usr/local/bin/wulf --config /srv/wulf.yaml serve\n"), "{text}");
        assert!(text.contains("\nReadWritePaths=/srv/head/var/lib/wulfpack /srv/head/run/wulfpack\n"), "{text}");
        assert!(!text.contains("RuntimeDirectory"), "{text}");
        for bad in ["/a b/wulf", "/a%h/wulf", "/a\nUser=root", ""] {
            assert!(render(Path::new(bad), &moved, etc).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_user_that_is_there_is_left_alone() {
        let config = Config { user: "root".into(), ..Config::default() };
        assert!(!make_user(&config).unwrap());
    }
}
