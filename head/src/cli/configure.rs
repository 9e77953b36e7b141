//! `wulf configure`: what this host's own system needs: hosts file, NFS exports, SSH keys; and what another DHCP server has to know.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use nix::unistd::{Uid, User};
use serde::Serialize;

use super::change::confirm;
use super::{Cell, Context, OutputFormat, Style, Table, note, print, write_out};
use crate::config::{Config, KeyRole, load_key};
use crate::configure::{
    Dialect, FileChange, Outside, Run, authorized_keys, exports, hosts, keygen, known_hosts, public_keys,
};
use crate::exit::{Ended, Exit};
use crate::registry::{Defaults, Registry, networks_of};
use crate::serve::BootSettings;

/// Set up what this host's own system needs for nodes. What is written is shown first, written whole or not at all, and the same
/// command again changes nothing. Files of the administrator keep what is theirs: only a marked block is ours.
#[derive(Debug, Subcommand)]
pub enum ConfigureCommand {
    /// Nodes and devices by name in /etc/hosts.
    #[command(visible_alias = "hostfile")]
    Hosts(Flags),
    /// NFS exports: `nfs: exports` of wulfpack.yaml into /etc/exports.d/wulfpack.exports.
    Nfs(Flags),
    /// SSH between head and nodes: a key for root if it has none, who may log in to nodes, and the host keys of nodes.
    Ssh(SshFlags),
    /// What another DHCP server has to know. The head's own needs nothing.
    Dhcp(DhcpFlags),
    /// Hosts, NFS and SSH.
    All(SshFlags),
}

/// How files are changed.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Files of the system below this directory instead of /, for a trial; nothing is run then.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// How SSH is set up.
#[derive(Args, Clone, Debug)]
pub struct SshFlags {
    #[command(flatten)]
    flags: Flags,
    /// Types of keys that root gets where it has none.
    #[arg(long, short = 't', value_delimiter = ',', default_value = "ed25519", value_name = "TYPE")]
    keytypes: Vec<String>,
}

/// For which server.
#[derive(Args, Clone, Debug)]
pub struct DhcpFlags {
    /// The server that gives addresses.
    #[arg(long, value_enum, value_name = "SERVER")]
    external: Option<Dialect>,
    /// Write it into this file instead of printing it.
    #[arg(long, value_name = "FILE", requires = "external")]
    out: Option<PathBuf>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What is to be done.
#[derive(Default, Serialize)]
struct Work {
    /// Before the files.
    first: Vec<Run>,
    files: Vec<FileChange>,
    /// After them, if one has changed.
    then: Vec<Run>,
}

impl ConfigureCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config()?;
        match self {
            Self::Hosts(flags) => apply(context, &flags, |work| of_hosts(&config, &flags.root, work)),
            Self::Nfs(flags) => apply(context, &flags, |work| of_nfs(&config, &flags.root, work)),
            Self::Ssh(ssh) => apply(context, &ssh.flags, |work| of_ssh(&config, &ssh, work)),
            Self::All(ssh) => apply(context, &ssh.flags, |work| {
                of_hosts(&config, &ssh.flags.root, work)?;
                of_nfs(&config, &ssh.flags.root, work)?;
                of_ssh(&config, &ssh, work)
            }),
            Self::Dhcp(flags) => dhcp(context, &config, &flags),
        }
    }
}

fn registry(config: &Config) -> anyhow::Result<Registry> {
    Ok(Registry::load_with(&config.paths.nodes_file(), Defaults::from(config))?)
}

fn of_hosts(config: &Config, root: &Path, work: &mut Work) -> anyhow::Result<()> {
    let path = root.join("etc/hosts");
    work.files.push(hosts(path, config, &registry(config)?.resolve())?);
    Ok(())
}

fn of_nfs(config: &Config, root: &Path, work: &mut Work) -> anyhow::Result<()> {
    let interfaces: BTreeSet<String> = config.interfaces.keys().cloned().collect();
    let networks = networks_of(&interfaces).context("cannot list the networks of this host")?;
    let change = exports(root.join("etc/exports.d/wulfpack.exports"), config, &networks)?;
    if change.changes && root == Path::new("/") {
        if !config.nfs.exports.is_empty() && Path::new("/run/systemd/system").is_dir() {
            work.then.push(Run::new(["systemctl", "enable", "--now", "nfs-server"], "exports need the server"));
        }
        work.then.push(Run::new(["exportfs", "-ra"], "takes the exports over"));
    }
    work.files.push(change);
    Ok(())
}

fn of_ssh(config: &Config, ssh: &SshFlags, work: &mut Work) -> anyhow::Result<()> {
    for kind in &ssh.keytypes {
        if !["ed25519", "ecdsa", "rsa"].contains(&kind.as_str()) {
            return Err(Ended::new(Exit::Usage, format!("{kind:?} is no type of key: ed25519, ecdsa or rsa")).into());
        }
    }
    let root = &ssh.flags.root;
    let home = User::from_uid(Uid::from_raw(0)).ok().flatten().map_or_else(|| "/root".into(), |root| root.dir);
    let home = root.join(home.strip_prefix("/").unwrap_or(&home));
    let keys = public_keys(&home);
    if keys.is_empty() {
        work.first.extend(keygen(&home, &ssh.keytypes));
    }
    work.files.push(authorized_keys(&config.paths, &keys)?);
    let secret = load_key(&config.paths.ssh_key(), KeyRole::Ssh)?;
    let path = root.join("etc/ssh/ssh_known_hosts");
    work.files.push(known_hosts(path, config, &registry(config)?.resolve(), &secret)?);
    Ok(())
}

/// Plans, shows, asks, does it. What is run first may make files that the plan rests on: it is made again after that.
fn apply(context: &Context, flags: &Flags, plan: impl Fn(&mut Work) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let mut work = Work::default();
    plan(&mut work)?;
    let changes = work.files.iter().any(|file| file.changes) || !work.first.is_empty();
    print_work(context, &work)?;
    if !changes {
        note("Nothing changes.");
        return Ok(Exit::Ok.into());
    }
    if flags.dry_run {
        return Ok(Exit::Ok.into());
    }
    if !context.yes && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        confirm("Write this? [y/N]")?;
    }
    if !work.first.is_empty() {
        for run in &work.first {
            if let Some(dir) = run.command.last().and_then(|path| Path::new(path).parent()) {
                crate::config::create_dir(dir, 0o700)?;
            }
            run.run()?;
        }
        work = Work::default();
        plan(&mut work)?;
    }
    for file in &work.files {
        file.write().with_context(|| format!("cannot write {}", file.path.display()))?;
    }
    let mut failed = false;
    if work.files.iter().any(|file| file.changes) {
        for run in &work.then {
            if let Err(error) = run.run() {
                note(&format!("{error}"));
                failed = true;
            }
        }
    }
    let written = work.files.iter().filter(|file| file.changes).count();
    note(&format!("wrote {written} files"));
    Ok(if failed { Exit::Failed } else { Exit::Ok }.into())
}

fn print_work(context: &Context, work: &Work) -> anyhow::Result<()> {
    if context.output != OutputFormat::Table {
        return print(context, work, || {
            let mut table = Table::pairs();
            work.files
                .iter()
                .filter(|file| file.changes)
                .for_each(|file| table.row([Cell::new(file.path.display().to_string())]));
            table
        });
    }
    for run in &work.first {
        note(&format!("runs: {} ({})", run.line(), run.why));
    }
    work.files.iter().filter(|file| file.changes).try_for_each(show)?;
    for run in &work.then {
        note(&format!("runs then: {} ({})", run.line(), run.why));
    }
    Ok(())
}

/// The change of a file, in colours where there are some.
fn show(file: &FileChange) -> anyhow::Result<()> {
    let colour = super::render::colours();
    let mut text = String::new();
    for line in file.diff().lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => Style::Good,
            Some(b'-') => Style::Bad,
            Some(b'@') => Style::Dim,
            _ => Style::Plain,
        };
        text.push_str(&style.paint(line, colour));
        text.push('\n');
    }
    write_out(&text)
}

fn dhcp(context: &Context, config: &Config, flags: &DhcpFlags) -> anyhow::Result<ExitCode> {
    let Some(dialect) = flags.external else {
        note(
            "Nothing to configure: the head is its own DHCP server. Where another server gives addresses, `dhcp: mode: proxy` adds what to boot, or --external isc|kea|dnsmasq writes what that server has to know.",
        );
        return Ok(Exit::Ok.into());
    };
    let boot = BootSettings::of(config)?;
    let interfaces: BTreeSet<String> = config.interfaces.keys().cloned().collect();
    let own = networks_of(&interfaces).context("cannot list the networks of this host")?;
    let outside = Outside::new(config, &boot.dhcp.nbps, &own, &registry(config)?.resolve());
    if outside.is_empty() {
        let text = "no interface with an IPv4 network is named below `interfaces:`: there is nothing to write";
        return Err(Ended::new(Exit::Failed, text).into());
    }
    for name in config.interfaces.keys().filter(|name| config.interface(name).unwrap_or_default().dhcp) {
        note(&format!(
            "warning: the head itself answers DHCP on {name}: set `dhcp: false, tftp: true, token: neighbour` there"
        ));
    }
    let text = outside.render(dialect);
    let Some(path) = &flags.out else {
        write_out(&text)?;
        return Ok(Exit::Ok.into());
    };
    let change = FileChange::whole(path.clone(), text, 0o644)?;
    if !change.changes {
        note("Nothing changes.");
    } else if flags.dry_run {
        show(&change)?;
    } else {
        change.write().with_context(|| format!("cannot write {}", path.display()))?;
        note(&format!("wrote {}; reload the server", path.display()));
    }
    if context.output != OutputFormat::Table {
        print(context, &change, Table::pairs)?;
    }
    Ok(Exit::Ok.into())
}
