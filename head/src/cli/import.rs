//! `wulf import` takes over a Warewulf head, `wulf upgrade` a registry in the form of an older version.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser as _, Subcommand};

use super::change::{ChangeFlags, Doing, save, with_all};
use super::{Cell, Context, OutputFormat, Style, Table, Wulf, note, print, write_out};
use crate::config::Config;
use crate::configure::FileChange;
use crate::exit::{Ended, Exit};
use crate::import::{Plan, Remark, upgrade_nodes};
use crate::registry::{Editor, Surroundings};

/// Take over what another system has.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Take over a Warewulf head: nodes, profiles, images and site overlays, whose templates are translated.
    Warewulf(WarewulfArgs),
}

/// Arguments of `wulf import warewulf`.
#[derive(Args, Debug)]
pub struct WarewulfArgs {
    /// Root directory of the Warewulf head (/, or a copy), or its etc/warewulf.
    dir: PathBuf,
    /// Leave images where they are: they can be imported one by one later.
    #[arg(long)]
    no_images: bool,
    /// Leave wulfpack.yaml as it is.
    #[arg(long)]
    no_settings: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Bring a registry in the form of an older version, of Warewulf's too, into today's.
#[derive(Args, Debug)]
pub struct UpgradeCommand {
    #[command(flatten)]
    change: ChangeFlags,
}

impl ImportCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Warewulf(args) => args.run(context),
        }
    }
}

impl WarewulfArgs {
    fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config()?;
        let overlays = Surroundings::of(&config.paths, vec![]).overlays.unwrap_or_default();
        let site = |name: &str| self.overlay_dirs().iter().any(|dir| dir.join(name).is_dir());
        let mut plan = Plan::read(&self.dir, &|name| overlays.contains(name) || site(name))?;
        let settings = self.settings(context, &config, &mut plan)?;
        if self.change.is_dry_run() {
            print(context, &plan, || table(&plan))?;
            if let (Some(file), OutputFormat::Table) = (settings.filter(|file| file.changes), context.output) {
                write_out(&format!("\n{}", file.diff()))?;
            }
            return Ok(Exit::Ok.into());
        }
        remarks(&plan.remarks);
        if let Some(file) = settings.filter(|file| file.changes) {
            write_out(&file.diff())?;
            file.write().with_context(|| format!("cannot write {}", file.path.display()))?;
            note(&format!("{} has the settings of that head now; restart wulf serve to use them", file.path.display()));
        }
        let mut editor = with_all(Editor::open(&config.paths.nodes_file())?, &config)?;
        self.put(&plan, &mut editor)?;
        for overlay in &plan.overlays {
            match overlay.write(&config.paths.overlays) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    note(&format!("overlay {} is there already and stays as it is", overlay.name));
                }
                other => other.with_context(|| format!("overlay {}", overlay.name))?,
            }
        }
        let saved = save(context, editor, &self.change.forced(), Doing::drastically("import warewulf"))?;
        for image in plan.images.iter().filter(|_| !self.no_images) {
            let (config, rootfs) = (context.config.display().to_string(), image.rootfs.display().to_string());
            let line = ["wulf", "--config", &config, "image", "import", &rootfs, &image.name];
            Wulf::try_parse_from(line)?.run().with_context(|| format!("image {}", image.name))?;
        }
        Ok(saved)
    }

    /// The configuration with the other head's settings; what does not fit becomes a remark.
    fn settings(&self, context: &Context, config: &Config, plan: &mut Plan) -> anyhow::Result<Option<FileChange>> {
        if self.no_settings {
            return Ok(None);
        }
        let path = &context.config;
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let addresses: Vec<(String, IpAddr)> = own_addresses().unwrap_or_default();
        let interface_of = |ip: IpAddr| addresses.iter().find(|(_, own)| *own == ip).map(|(name, _)| name.clone());
        let (written, kept) = plan.configuration(&text, config, &interface_of);
        plan.remarks.extend(kept.into_iter().map(|what| Remark { file: path.clone(), line: None, what }));
        written.map(|text| FileChange::whole(path.clone(), text, 0o644)).transpose().map_err(Into::into)
    }

    fn overlay_dirs(&self) -> [PathBuf; 2] {
        let root = if self.dir.ends_with("etc/warewulf") { self.dir.join("../..") } else { self.dir.clone() };
        [root.join("var/lib/warewulf/overlays"), root.join("srv/warewulf/overlays")]
    }

    /// Puts nodes and profiles into the registry. One that is there and says something else stays, unless that is meant.
    fn put(&self, plan: &Plan, editor: &mut Editor) -> anyhow::Result<()> {
        let mut clash = BTreeSet::new();
        let fresh = editor.file.nodes.is_empty();
        for (kind, from, to) in [
            ("profile", &plan.nodes.nodeprofiles, &mut editor.file.nodeprofiles),
            ("node", &plan.nodes.nodes, &mut editor.file.nodes),
        ] {
            for (name, entry) in from {
                // The profile that `wulf init` made is nobody's work yet.
                let mine = to.get(name).is_some_and(|old| old != entry) && !(fresh && name == "default");
                if mine && !self.change.is_forced() {
                    clash.insert(format!("{kind} {name}"));
                }
                to.insert(name.clone(), entry.clone());
            }
        }
        if clash.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = clash.into_iter().take(20).collect();
        let message = format!("already there, and different: {}; --force replaces them", names.join(", "));
        Err(Ended::new(Exit::Failed, message).into())
    }
}

fn remarks(remarks: &[Remark]) {
    for Remark { file, line, what } in remarks {
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        note(&format!("{}{line}: {what}", file.display()));
    }
}

fn table(plan: &Plan) -> Table {
    let mut table = Table::new(["what", "name", "detail"]);
    let settings = serde_json::to_value(&plan.settings).unwrap_or_default();
    for (key, value) in settings.as_object().into_iter().flatten().filter(|(_, value)| !is_empty(value)) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.row(["setting".into(), key.into(), text.into()]);
    }
    for (kind, entries) in [("profile", &plan.nodes.nodeprofiles), ("node", &plan.nodes.nodes)] {
        for (name, entry) in entries {
            table.row([kind.into(), name.into(), Cell::or_dash(entry.comment.as_ref())]);
        }
    }
    for image in &plan.images {
        table.row(["image".into(), (&image.name).into(), image.rootfs.display().to_string().into()]);
    }
    for overlay in &plan.overlays {
        for file in &overlay.files {
            let how = if file.text.is_some() { "translated" } else { "copied" };
            table.row(["overlay".into(), (&overlay.name).into(), format!("{}: {how}", file.to.display()).into()]);
        }
    }
    for Remark { file, line, what } in &plan.remarks {
        let place = line.map_or_else(|| file.display().to_string(), |line| format!("{}:{line}", file.display()));
        table.row([Cell::new("look at").style(Style::Warn), place.into(), what.into()]);
    }
    table
}

fn is_empty(value: &serde_json::Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Addresses of this host's interfaces.
fn own_addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let addresses = nix::ifaddrs::getifaddrs()?.filter_map(|entry| {
        let address = entry.address?;
        let four = address.as_sockaddr_in().map(|four| IpAddr::from(four.ip()));
        let ip = four.or_else(|| address.as_sockaddr_in6().map(|six| six.ip().into()))?;
        Some((entry.interface_name, ip))
    });
    Ok(addresses.collect())
}

impl UpgradeCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config()?;
        let path = config.paths.nodes_file();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let overlays = Surroundings::of(&config.paths, vec![]).overlays.unwrap_or_default();
        let (file, said) = upgrade_nodes(&text, &|name| overlays.contains(name))
            .map_err(|what| Ended::new(Exit::Failed, format!("{}: {what}", path.display())))?;
        remarks(&said.into_iter().map(|(line, what)| Remark { file: path.clone(), line, what }).collect::<Vec<_>>());
        let text = serde_saphyr::to_string(&file)?;
        let editor = with_all(Editor::open_to_replace(&path, &text)?, &config)?;
        save(context, editor, &self.change.forced(), Doing::plainly("upgrade"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::node::tests::{head, wulf};
    use crate::registry::Registry;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_warewulf_head_becomes_one_of_ours() {
        let (dir, paths) = head();
        let warewulf = tree(&[
            (
                "etc/warewulf/warewulf.conf",
                "ipaddr: 10.0.0.1\nfqdn: head.example.org\nnfs:\n  export paths:\n  - path: /opt\n",
            ),
            (
                "etc/warewulf/nodes.conf",
                "nodeprofiles:\n  default:\n    image name: a\n    system overlay: [wwinit, site]\nnodes:\n  n1:\n    profiles: [default]\n    tags: {role: login}\n",
            ),
            (
                "var/lib/warewulf/overlays/site/rootfs/etc/motd.ww",
                "Welcome to {{ .Id }}{{ if .Tags.role }}, {{ .Tags.role }}{{ end }}\n",
            ),
            ("var/lib/warewulf/overlays/site/rootfs/etc/secret.ww", "x\n{{ Include \"/etc/shadow\" }}\n"),
            ("var/lib/warewulf/overlays/site/rootfs/etc/plain", "{{ not a template }}\n"),
        ]);
        let from = warewulf.path().to_str().unwrap();
        let before = fs::read(paths.nodes_file()).unwrap();
        for output in ["table", "json", "yaml"] {
            wulf(dir.path(), &["import", "warewulf", from, "--dry-run", "--output", output]).unwrap();
        }
        assert_eq!(fs::read(paths.nodes_file()).unwrap(), before);
        assert!(!paths.overlays.join("site").exists());

        wulf(dir.path(), &["import", "warewulf", from]).unwrap();
        let registry = Registry::load(&paths.nodes_file()).unwrap();
        let snapshot = registry.resolve();
        let n1 = snapshot.node(&"n1".parse().unwrap()).unwrap();
        assert_eq!(n1.system_overlays.iter().map(ToString::to_string).collect::<Vec<_>>(), ["site"]);
        assert_eq!(n1.image.as_ref().unwrap().to_string(), "a");
        let etc = paths.overlays.join("site/rootfs/etc");
        assert!(fs::read_to_string(etc.join("motd.j2")).unwrap().contains("node.name"));
        assert_eq!(fs::read_to_string(etc.join("plain")).unwrap(), "{{ not a template }}\n");
        let settings = Config::load(&dir.path().join("wulfpack.yaml")).unwrap();
        assert_eq!(settings.domain, "example.org");
        assert!(settings.nfs.exports.contains_key(std::path::Path::new("/opt")), "{settings:?}");
        assert!(
            !etc.join("secret.j2").exists() && !etc.join("secret.ww").exists(),
            "what cannot be translated is told"
        );
        wulf(dir.path(), &["node", "set", "n1", "--image", "b"]).unwrap();
        let error = wulf(dir.path(), &["import", "warewulf", from]).unwrap_err().to_string();
        assert!(error.contains("already there, and different: node n1"), "{error}");
        let error = wulf(dir.path(), &["import", "warewulf", dir.path().to_str().unwrap()]).unwrap_err();
        assert!(error.to_string().contains("warewulf.conf"), "{error}");
    }

    #[test]
    fn a_registry_of_an_older_version_is_upgraded() {
        let (dir, paths) = head();
        let old = "WW_INTERNAL: 45\nnodeprofiles:\n  default:\n    kernel: {args: quiet a=1, override: x}\nnodes:\n  n1:\n    profiles: [default]\n    container name: a\n    runtime overlay: hosts,generic\n    keys: {role: login}\n";
        fs::write(paths.nodes_file(), old.replace("override: x", "version: '5'")).unwrap();
        wulf(dir.path(), &["upgrade"]).unwrap();
        let registry = Registry::load(&paths.nodes_file()).unwrap();
        let snapshot = registry.resolve();
        let n1 = snapshot.node(&"n1".parse().unwrap()).unwrap();
        assert_eq!(
            (n1.kernel_args.join(" "), n1.image.as_ref().unwrap().to_string()),
            ("quiet a=1".into(), "a".into())
        );
        assert_eq!(n1.runtime_overlays.iter().map(ToString::to_string).collect::<Vec<_>>(), ["hosts"]);
        assert_eq!(n1.tags["role"], "login");
        assert!(crate::registry::History::new(paths.history()).records().unwrap().len() == 1);
    }
}
