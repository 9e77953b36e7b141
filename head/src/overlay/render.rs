//! A node's bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use minijinja::{Environment, Value, context};
use wulfpack_shared::id::OverlayName;
use wulfpack_shared::limits::OVERLAYS_MAX;
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind, is_clean};

use super::facts::{Facts, view};
use super::hostkey::HostKey;
use super::source::{self, Item, ItemKind, Overlay, SourceError, TEMPLATE};
use super::{shipped, template};
use crate::config::{Paths, yaml};
use crate::registry::Node;

/// Stands for the name of an interface's network in the name of a template.
const EACH: &str = "@net@";
/// Without it a node stops serving its image when it leaves the initramfs, so every node gets it.
const AGENT: &str = "wulf-agent";
/// Warewulf's own overlays that a loaded nodes.conf names, and that do nothing here: the agent does their work, or they are
/// not there yet. A node that names one boots without it.
const FOREIGN: [&str; 21] = [
    "wwinit",
    "wwclient",
    "NetworkManager",
    "chrony",
    "debian.interfaces",
    "debug",
    "host",
    "ifcfg",
    "ifupdown",
    "ignition",
    "issue",
    "localtime",
    "mig",
    "mkfs",
    "mkswap",
    "netplan",
    "sfdisk",
    "syncuser",
    "systemd.netname",
    "udev.netname",
    "wicked",
];

/// Why a node's overlays cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("overlay {overlay}: {file}{at}: {message}", at = .line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct RenderError {
    /// The overlay.
    pub overlay: String,
    /// The file in it.
    pub file: String,
    /// The line in that file, if known.
    pub line: Option<usize>,
    /// What is wrong there.
    pub message: String,
}

/// Renders overlays. Sources are read anew each time, so that an edited overlay counts at once.
#[derive(Clone, Debug)]
pub struct Renderer {
    dirs: Vec<PathBuf>,
}

impl Renderer {
    /// Looks for overlays in these directories, the first one first, and then among those built in.
    pub fn new(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { dirs: dirs.into_iter().collect() }
    }

    /// The site's overlays, then the shipped ones.
    pub fn of(paths: &Paths) -> Self {
        Self::new([paths.overlays.clone(), paths.shipped_overlays()])
    }

    /// All bundles of `node` in the order in which they are applied, at most [`OVERLAYS_MAX`] bytes. Reads files.
    pub fn render(&self, node: &Node, facts: &Facts) -> Result<Vec<Bundle>, RenderError> {
        let agent = AGENT.parse::<OverlayName>().ok().filter(|agent| !node.system_overlays.contains(agent));
        let system = node.system_overlays.iter().chain(&agent).map(|name| (name, Context::System));
        let runtime = node.runtime_overlays.iter().map(|name| (name, Context::Runtime));
        let (mut bundles, mut size) = (vec![], 0);
        let values = values(node, facts);
        for (name, context) in system.chain(runtime) {
            for bundle in self.overlay(name, context, node, &values)? {
                size += bundle.entries.iter().map(entry_len).sum::<usize>();
                if size > OVERLAYS_MAX {
                    let message = format!("the overlays of node {} have more than {OVERLAYS_MAX} bytes", node.name);
                    return Err(RenderError { overlay: name.to_string(), file: "rootfs".into(), line: None, message });
                }
                bundles.push(bundle);
            }
        }
        Ok(bundles)
    }

    fn overlay(
        &self,
        name: &OverlayName,
        context: Context,
        node: &Node,
        values: &Value,
    ) -> Result<Vec<Bundle>, RenderError> {
        let from_source = |error: SourceError| fail(name, error.file, error.message);
        let Some(overlay) = source::find(&self.dirs, name).map_err(from_source)? else {
            if FOREIGN.contains(&name.as_str()) {
                tracing::debug!(node = %node.name, overlay = %name, "skipped: an overlay of Warewulf without a counterpart");
                return Ok(vec![]);
            }
            let known: Vec<&str> = shipped::OVERLAYS.iter().map(|overlay| overlay.name).collect();
            let what = format!("there is no such overlay; node {} names it", node.name);
            return Err(fail(name, "rootfs", yaml::unknown(&what, name.as_str(), &known)));
        };
        let work = Work { name, overlay: &overlay, node, values, environment: environment(name, &overlay)? };
        let mut by_context = [(Context::System, vec![]), (Context::Runtime, vec![])];
        for (at, entry) in work.entries(context)? {
            for (context, entries) in &mut by_context {
                if *context == at {
                    entries.push(entry.clone());
                }
            }
        }
        let bundles = by_context.into_iter().filter(|(_, entries)| !entries.is_empty());
        let bundle = |(context, entries)| {
            let reload = if context == Context::Runtime { overlay.rules.reload.clone() } else { vec![] };
            Bundle { name: name.clone(), context, entries, reload }
        };
        Ok(bundles.map(bundle).collect())
    }
}

/// What an entry takes on the wire, roughly; a million empty files are not nothing.
fn entry_len(entry: &Entry) -> usize {
    let content = match &entry.kind {
        EntryKind::File(bytes) => bytes.len(),
        EntryKind::Symlink(target) => target.len(),
        EntryKind::Directory | EntryKind::Absent | EntryKind::Known { .. } => 0,
    };
    entry.path.len() + content + 32
}

fn fail(overlay: &OverlayName, file: impl Into<String>, message: impl Into<String>) -> RenderError {
    RenderError { overlay: overlay.to_string(), file: file.into(), line: None, message: message.into() }
}

fn from_template(overlay: &OverlayName, file: &str, error: &minijinja::Error) -> RenderError {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    RenderError {
        overlay: overlay.to_string(),
        file: error.name().unwrap_or(file).to_owned(),
        line: error.line(),
        message: format!("{}{detail}", error.kind()),
    }
}

/// What every template of this node sees.
fn values(node: &Node, facts: &Facts) -> Value {
    let key = HostKey::derive(&facts.ssh, &node.name);
    let domain = facts.cluster.get_attr("domain").ok().and_then(|domain| domain.as_str().map(str::to_owned));
    let ssh = context! {
        host_key => Value::from_safe_string(key.private().to_string()),
        host_public_key => key.public(),
        authorized_keys => Value::from_safe_string(facts.authorized_keys.clone()),
    };
    context! {
        node => view(node, &domain.unwrap_or_default()),
        nodes => facts.nodes.clone(),
        hosts => facts.hosts.clone(),
        cluster => facts.cluster.clone(),
        agent => facts.agent.clone(),
        ssh => ssh,
    }
}

fn environment(name: &OverlayName, overlay: &Overlay) -> Result<Environment<'static>, RenderError> {
    let mut templates = BTreeMap::new();
    for item in &overlay.items {
        if let ItemKind::Template(text) = &item.kind {
            templates.insert(item.path.clone(), text.clone());
        }
    }
    template::environment(templates).map_err(|error| from_template(name, "rootfs", &error))
}

/// One overlay while it is rendered for one node.
struct Work<'a> {
    name: &'a OverlayName,
    overlay: &'a Overlay,
    node: &'a Node,
    values: &'a Value,
    environment: Environment<'static>,
}

impl Work<'_> {
    /// All entries, parents before children, each with its context.
    fn entries(&self, context: Context) -> Result<Vec<(Context, Entry)>, RenderError> {
        let mut unused: BTreeSet<&str> = self.overlay.rules.paths.keys().map(String::as_str).collect();
        let (mut entries, mut paths) = (vec![], BTreeSet::new());
        let absent = self.overlay.rules.absent.iter();
        entries.extend(absent.map(|path| (context, entry(path.clone(), EntryKind::Absent, 0))));
        for item in &self.overlay.items {
            let path = item.path.strip_suffix(TEMPLATE).filter(|_| matches!(item.kind, ItemKind::Template(_)));
            let path = path.unwrap_or(&item.path);
            let rule = self.overlay.rules.paths.get(path);
            unused.remove(path);
            for mut made in self.item(item, path, rule.is_some())? {
                if let Some(rule) = rule {
                    made.mode = rule.mode().unwrap_or(made.mode);
                    (made.uid, made.gid, made.secret) = (rule.uid, rule.gid, rule.secret);
                }
                if !is_clean(&made.path) || !paths.insert(made.path.clone()) {
                    return Err(fail(
                        self.name,
                        &item.path,
                        format!("{:?} is made twice or leaves the root", made.path),
                    ));
                }
                entries.push((rule.and_then(|rule| rule.context).unwrap_or(context), made));
            }
        }
        if let Some(path) = unused.first() {
            return Err(fail(self.name, "overlay.yaml", format!("paths: {path}: there is no such path below rootfs")));
        }
        Ok(entries)
    }

    /// What one source path becomes for this node.
    fn item(&self, item: &Item, path: &str, has_rule: bool) -> Result<Vec<Entry>, RenderError> {
        let made = match &item.kind {
            ItemKind::File(bytes) => vec![entry(path.into(), EntryKind::File(bytes.clone()), item.mode)],
            ItemKind::Symlink(target) => vec![entry(path.into(), EntryKind::Symlink(target.clone()), 0o777)],
            // The agent makes missing parents; an entry would change the mode of a directory of the image.
            ItemKind::Directory { empty } if *empty || has_rule => {
                vec![entry(path.into(), EntryKind::Directory, item.mode)]
            }
            ItemKind::Directory { .. } => vec![],
            ItemKind::Template(_) if path.contains(EACH) => {
                let interfaces = self.values.get_attr("node").and_then(|node| node.get_attr("interfaces"));
                let views = interfaces.and_then(|views| Ok(views.try_iter()?.collect::<Vec<_>>()));
                let views = views.map_err(|error| from_template(self.name, &item.path, &error))?;
                let mut made = vec![];
                for (interface, view) in self.node.interfaces.iter().zip(views) {
                    let values = context! { interface => view, ..self.values.clone() };
                    made.extend(self.render(item, path.replace(EACH, &interface.net), values)?);
                }
                made
            }
            ItemKind::Template(_) => self.render(item, path.into(), self.values.clone())?.into_iter().collect(),
        };
        Ok(made)
    }

    fn render(&self, item: &Item, path: String, values: Value) -> Result<Option<Entry>, RenderError> {
        let values = context! { overlay => self.name.as_str(), ..values };
        let text = self.environment.get_template(&item.path).and_then(|template| template.render(values));
        let text = text.map_err(|error| from_template(self.name, &item.path, &error))?;
        let blank = text.trim().is_empty();
        Ok((!blank).then(|| entry(path, EntryKind::File(Bytes::from(text)), item.mode)))
    }
}

fn entry(path: String, kind: EntryKind, mode: u32) -> Entry {
    Entry { path, kind, mode, uid: 0, gid: 0, secret: false }
}
