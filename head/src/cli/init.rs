//! `wulf init`: directories, keys, a documented configuration, an empty registry. It creates what is missing and changes
//! nothing that is there, so it can be run again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use nix::unistd::{Uid, User};
use serde::Serialize;

use super::service::{UNIT, make_user, unit};
use super::{Cell, Context, Style, Table, note, print};
use crate::config::{
    Config, DEFAULT_YAML, KeyRole, Paths, create_dir, create_key, create_new, let_group_read, load_key,
};
use crate::exit::Exit;
use crate::registry::INITIAL_YAML;

/// Set this host up as a head. Creates what is missing and changes nothing that is there.
#[derive(Args, Debug)]
pub struct InitCommand {
    /// Interface on which boot services (DHCP, TFTP, HTTP) answer; may be given several times.
    #[arg(long = "interface", short = 'I', value_name = "IF")]
    interfaces: Vec<String>,
    /// Put everything below this directory instead of into the system's, for a trial.
    #[arg(long, value_name = "DIR")]
    below: Option<PathBuf>,
    /// Install the systemd unit that runs this head: `systemctl enable --now wulfpack` then starts it, now and at every boot.
    #[arg(long, conflicts_with = "below")]
    systemd: bool,
}

/// One thing that had to be there.
#[derive(Serialize)]
struct Step {
    path: PathBuf,
    what: String,
    created: bool,
}

impl InitCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let mut steps = vec![];
        check_interfaces(&self.interfaces)?;
        let config = self.config(context, &mut steps)?;
        if self.below.is_none() && make_user(&config)? {
            note(&format!("made the system user {}, which `wulf serve` becomes", config.user));
        }
        directories(&config.paths, &mut steps)?;
        keys(&config.paths, &mut steps)?;
        file(&config.paths.nodes_file(), INITIAL_YAML.as_bytes(), 0o640, "nodes and profiles", &mut steps)?;
        hand_over(&config, &steps)?;
        if self.systemd {
            let (path, text) = (Path::new(UNIT), unit(&config.paths, &context.config)?);
            file(path, text.as_bytes(), 0o644, "systemd unit: systemctl enable --now wulfpack", &mut steps)?;
        }
        let home = User::from_uid(Uid::from_raw(0)).ok().flatten().map_or_else(|| "/root".into(), |root| root.dir);
        authorized_keys(&config.paths, &home, &mut steps)?;
        print(context, &steps, || table(&steps))?;
        let missing: Vec<&String> =
            self.interfaces.iter().filter(|name| !config.interfaces.contains_key(*name)).collect();
        if let Some(name) = missing.first() {
            bail!(
                "{} was there before and is left as it is; add `{name}:` below `interfaces:` in it",
                context.config.display()
            );
        }
        if config.interfaces.is_empty() {
            note("Boot services are off: name an interface below `interfaces:` in the configuration.");
        }
        let agent = config.paths.agent_binary(std::env::consts::ARCH);
        if !agent.exists() {
            note(&format!("{} is missing: no node can boot until the agent is there.", agent.display()));
        }
        Ok(Exit::Ok.into())
    }

    /// The configuration in force; written first where there is none.
    fn config(&self, context: &Context, steps: &mut Vec<Step>) -> anyhow::Result<Config> {
        let text = configuration(&self.interfaces, self.below.as_deref());
        if let Some(dir) = context.config.parent() {
            create_dir(dir, 0o755).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        file(&context.config, text.as_bytes(), 0o644, "configuration", steps)?;
        let config = context.load_config()?;
        if let Some(below) = &self.below
            && config.paths != Paths::below(below)
        {
            bail!("{} says otherwise where everything lies; choose another --config", context.config.display());
        }
        Ok(config)
    }
}

/// The documented default with these interfaces, everything below `below`.
fn configuration(interfaces: &[String], below: Option<&Path>) -> String {
    let paths = below.map(Paths::below).and_then(|paths| serde_json::to_value(paths).ok());
    let mut text = String::with_capacity(DEFAULT_YAML.len() + 256);
    let mut in_paths = false;
    for line in DEFAULT_YAML.lines() {
        if !line.starts_with(' ') {
            in_paths = line == "paths:";
        }
        let key = line.trim().split(':').next().unwrap_or_default();
        let moved = paths.as_ref().filter(|_| in_paths).and_then(|paths| paths.get(key));
        if let Some(path) = moved {
            // JSON's quoting is YAML's.
            text.push_str(&format!("  {key}: {path}\n"));
        } else if line == "interfaces: {}" && !interfaces.is_empty() {
            text.push_str("interfaces:\n");
            interfaces.iter().for_each(|name| text.push_str(&format!("  {name}:\n")));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn check_interfaces(names: &[String]) -> anyhow::Result<()> {
    let there: Vec<String> = fs::read_dir("/sys/class/net")
        .context("cannot list the interfaces of this host")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    for name in names {
        if !there.contains(name) {
            bail!("this host has no interface {name:?}; it has {}", there.join(", "));
        }
    }
    Ok(())
}

/// Lets the service's own user read what it needs, where there is one and this process may say so.
fn hand_over(config: &Config, steps: &[Step]) -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let Some(user) = User::from_name(&config.user).with_context(|| format!("cannot look up {}", config.user))? else {
        note(&format!("There is no user {}: `wulf serve` stays root.", config.user));
        return Ok(());
    };
    let changed = let_group_read(&config.paths, user.gid.as_raw());
    let changed = changed.map_err(|(path, error)| {
        anyhow::Error::new(error).context(format!("cannot let {} read {}", user.name, path.display()))
    })?;
    let known = |path: &PathBuf| steps.iter().any(|step| step.created && step.path == *path);
    let mended = changed.iter().filter(|path| !known(path)).count();
    if mended > 0 {
        note(&format!("{} may read {mended} files and directories that it could not read before", user.name));
    }
    Ok(())
}

fn directories(paths: &Paths, steps: &mut Vec<Step>) -> anyhow::Result<()> {
    for (path, mode, what) in [
        (paths.etc.clone(), 0o755, "configuration"),
        (paths.state.clone(), 0o755, "state"),
        // Images hold password hashes and keys of their makers.
        (paths.images(), 0o750, "images"),
        (paths.keys(), 0o700, "secret keys"),
        (paths.overlays.clone(), 0o750, "overlays of this site"),
        (paths.history(), 0o2770, "states of the registry"),
        (paths.run.clone(), 0o750, "sockets"),
    ] {
        let created = create_dir(&path, mode).with_context(|| format!("cannot create {}", path.display()))?;
        steps.push(Step { path, what: what.into(), created });
    }
    Ok(())
}

fn keys(paths: &Paths, steps: &mut Vec<Step>) -> anyhow::Result<()> {
    for (path, role, what) in [
        (paths.cluster_key(), KeyRole::Cluster, "key of the cluster"),
        (paths.head_key(), KeyRole::Head, "key of this head"),
        (paths.ssh_key(), KeyRole::Ssh, "secret behind the SSH host keys of nodes"),
    ] {
        let created = !path.exists();
        let key = if created { create_key(&path, role)? } else { load_key(&path, role)? };
        // The last one has no public half that anybody would want to know.
        let public = if role == KeyRole::Ssh { String::new() } else { format!(" {}", key.public()) };
        steps.push(Step { path, what: format!("{what}{public}"), created });
    }
    Ok(())
}

/// Public keys that may log in to nodes: those of root on this head, if it has any.
fn authorized_keys(paths: &Paths, home: &Path, steps: &mut Vec<Step>) -> anyhow::Result<()> {
    let path = paths.authorized_keys();
    let keys = public_keys(home);
    if path.exists() {
        steps.push(Step { path, what: "keys that may log in to nodes as root".into(), created: false });
    } else if keys.is_empty() {
        let home = home.display();
        note(&format!(
            "{home}/.ssh has no public key: put those that may log in to nodes as root into {}",
            path.display()
        ));
    } else {
        let what =
            format!("keys that may log in to nodes as root: {} of {}/.ssh", keys.lines().count(), home.display());
        file(&path, keys.as_bytes(), 0o644, &what, steps)?;
    }
    Ok(())
}

/// The public keys in `home`, a line each; what cannot be read is not there.
fn public_keys(home: &Path) -> String {
    let entries = fs::read_dir(home.join(".ssh")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    files.sort();
    let texts = files.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.flat_map(|text| text.lines().map(|line| format!("{}\n", line.trim())).collect::<Vec<_>>()).collect()
}

/// Creates a file unless it is there; `true` if it was created.
fn file(path: &Path, bytes: &[u8], mode: u32, what: &str, steps: &mut Vec<Step>) -> anyhow::Result<bool> {
    let created = match create_new(path, bytes, mode) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
    };
    steps.push(Step { path: path.into(), what: what.into(), created });
    Ok(created)
}

fn table(steps: &[Step]) -> Table {
    let mut table = Table::pairs();
    for step in steps {
        let (state, style) = if step.created { ("created", Style::Good) } else { ("kept", Style::Dim) };
        table.row([Cell::new(state).style(style), step.path.display().to_string().into(), (&step.what).into()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::OutputFormat;
    use crate::registry::Registry;

    fn init(below: &Path, interfaces: &[&str]) -> anyhow::Result<ExitCode> {
        let context =
            Context { config: below.join("etc/wulfpack/wulfpack.yaml"), output: OutputFormat::Json, yes: false };
        let interfaces = interfaces.iter().map(ToString::to_string).collect();
        InitCommand { interfaces, below: Some(below.into()), systemd: false }.run(&context)
    }

    #[test]
    fn a_new_head_is_complete_and_its_secrets_are_private() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["lo"]).unwrap();
        let paths = Paths::below(dir.path());
        let config = Config::load(&paths.etc.join("wulfpack.yaml")).unwrap();
        assert!(config.interface("lo").is_some());
        assert_eq!(config.paths, paths);
        Registry::load(&paths.nodes_file()).unwrap();
        crate::config::Keys::load(&paths).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&paths.keys()), mode(&paths.images()), mode(&paths.nodes_file())), (0o700, 0o750, 0o640));
    }

    #[test]
    fn a_second_run_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["lo"]).unwrap();
        let paths = Paths::below(dir.path());
        let files = [
            paths.cluster_key(),
            paths.head_key(),
            paths.ssh_key(),
            paths.nodes_file(),
            paths.etc.join("wulfpack.yaml"),
        ];
        let read = || files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
        let before = read();
        init(dir.path(), &["lo"]).unwrap();
        assert_eq!(read(), before);
    }

    #[test]
    fn an_interface_that_is_not_there_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let error = init(dir.path(), &["nosuch0"]).unwrap_err().to_string();
        assert!(error.contains("nosuch0") && error.contains("lo"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_existing_configuration_is_not_extended_but_said_so() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &[]).unwrap();
        let error = init(dir.path(), &["lo"]).unwrap_err().to_string();
        assert!(error.contains("add `lo:` below `interfaces:`"), "{error}");
    }

    #[test]
    fn the_written_configuration_is_the_documented_one() {
        assert_eq!(configuration(&[], None), DEFAULT_YAML);
        let config = Config::parse(&configuration(&["eth1".into()], Some(Path::new("/x y")))).unwrap();
        assert_eq!(config.paths, Paths::below(Path::new("/x y")));
        let mut plain = config;
        (plain.paths, plain.interfaces) = (Paths::default(), std::collections::BTreeMap::new());
        assert_eq!(plain, Config::default());
    }

    #[test]
    fn roots_public_keys_are_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(public_keys(dir.path()), "");
        fs::create_dir(dir.path().join(".ssh")).unwrap();
        fs::write(dir.path().join(".ssh/id_ed25519"), "private").unwrap();
        fs::write(dir.path().join(".ssh/id_ed25519.pub"), "ssh-ed25519 AAAA a").unwrap();
        fs::write(dir.path().join(".ssh/id_rsa.pub"), "ssh-rsa BBBB b\n").unwrap();
        assert_eq!(public_keys(dir.path()), "ssh-ed25519 AAAA a\nssh-rsa BBBB b\n");
    }
}
