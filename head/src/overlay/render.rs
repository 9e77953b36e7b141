//! A node's bundles.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::{Value, context};
use wulfpack_shared::id::{NodeName, OverlayName};
use wulfpack_shared::limits::OVERLAYS_MAX;
use wulfpack_shared::overlay::{Bundle, Context, Entry, EntryKind};

use super::compiled::Compiled;
use super::digest::{Digest, Digests, Part};
use super::facts::{Facts, view};
use super::functions::Readable;
use super::hostkey::HostKey;
use super::shipped;
use super::source::{self, SourceError};
use super::work::Work;
use crate::config::{Paths, yaml};
use crate::registry::Node;

/// Without it a node stops serving its image when it leaves the initramfs, so every node gets it.
const AGENT: &str = "wulf-agent";
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

/// Renders overlays. What was made ready is kept for as long as its source is the same, which is seen by its content.
#[derive(Clone, Debug)]
pub struct Renderer {
    dirs: Vec<PathBuf>,
    readable: Arc<Readable>,
    kept: Arc<Mutex<BTreeMap<OverlayName, Arc<Compiled>>>>,
    digests: Arc<Digests>,
}

impl Renderer {
    /// Looks for overlays in these directories, the first one first, and then among those built in. Templates may read what is
    /// in `readable`.
    pub fn new(dirs: impl IntoIterator<Item = PathBuf>, readable: Readable) -> Self {
        let (dirs, readable) = (dirs.into_iter().collect(), Arc::new(readable));
        Self { dirs, readable, kept: Arc::default(), digests: Arc::default() }
    }

    /// The site's overlays, then the shipped ones.
    pub fn of(paths: &Paths) -> Self {
        let readable = Readable { files: paths.etc.join("files"), images: paths.images(), accounts: "/etc".into() };
        Self::new([paths.overlays.clone(), paths.shipped_overlays()], readable)
    }

    /// The overlays as they are now: each is read when the first node needs it, and not again.
    pub fn now(&self) -> Now<'_> {
        Now { renderer: self, read: RefCell::default() }
    }

    /// All bundles of `node` in the order in which they are applied, at most [`OVERLAYS_MAX`] bytes. Reads files anew, so that an
    /// edited overlay counts at once.
    pub fn render(&self, node: &Node, facts: &Facts) -> Result<Vec<Bundle>, RenderError> {
        self.now().render(node, facts)
    }

    /// Forgets what it knows of nodes that are gone.
    pub fn retain(&self, is_there: impl Fn(&NodeName) -> bool) {
        self.digests.retain(is_there);
    }

    fn compiled(&self, name: &OverlayName) -> Result<Option<Arc<Compiled>>, RenderError> {
        let from_source = |error: SourceError| fail(name, error.file, error.message);
        let Some(overlay) = source::find(&self.dirs, name).map_err(from_source)? else { return Ok(None) };
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().get(name).filter(|known| known.overlay == overlay) {
            return Ok(Some(Arc::clone(known)));
        }
        let compiled = Arc::new(Compiled::new(name, overlay, &self.readable)?);
        kept().insert(name.clone(), Arc::clone(&compiled));
        Ok(Some(compiled))
    }
}

/// The overlays at one moment.
#[derive(Debug)]
pub struct Now<'a> {
    renderer: &'a Renderer,
    read: RefCell<BTreeMap<OverlayName, Option<Arc<Compiled>>>>,
}

impl Now<'_> {
    /// All bundles of `node` in the order in which they are applied, at most [`OVERLAYS_MAX`] bytes.
    pub fn render(&self, node: &Node, facts: &Facts) -> Result<Vec<Bundle>, RenderError> {
        let (mut bundles, mut size) = (vec![], 0);
        let values = values(node, facts);
        for (name, context) in overlays_of(node) {
            let made = self.overlay(&name, context, node, facts, &values)?;
            size += size_of(&made);
            fits(size, &name, node)?;
            bundles.extend(made);
        }
        Ok(bundles)
    }

    /// What [`render`](Self::render) would come to. Only what may have changed since the last time is rendered.
    pub fn digest(&self, node: &Arc<Node>, facts: &Facts) -> Result<Digest, RenderError> {
        let digests = &self.renderer.digests;
        let (known, mut parts, mut size) = (digests.of(node, facts), vec![], 0);
        let mut made_values: Option<Value> = None;
        for (index, (name, context)) in overlays_of(node).enumerate() {
            let compiled = self.find(&name, node)?;
            let which = (&*compiled, context);
            let part = match digests.part(&known, index, which, facts) {
                Some(part) => part,
                None => {
                    let values = made_values.get_or_insert_with(|| values(node, facts));
                    let bundles = self.overlay(&name, context, node, facts, values)?;
                    let part = Part::new(&compiled, facts, &bundles, size_of(&bundles));
                    digests.share(which, facts, part);
                    part
                }
            };
            size += part.size;
            fits(size, &name, node)?;
            parts.push(part);
        }
        let digest = Digest::of(&parts);
        if parts != known {
            digests.keep(node, facts, parts);
        }
        Ok(digest)
    }

    /// One overlay for a node, whether or not the node has it.
    pub fn render_one(
        &self,
        name: &OverlayName,
        context: Context,
        node: &Node,
        facts: &Facts,
    ) -> Result<Vec<Bundle>, RenderError> {
        self.overlay(name, context, node, facts, &values(node, facts))
    }

    fn find(&self, name: &OverlayName, node: &Node) -> Result<Arc<Compiled>, RenderError> {
        let mut read = self.read.borrow_mut();
        if !read.contains_key(name) {
            read.insert(name.clone(), self.renderer.compiled(name)?);
        }
        read.get(name).cloned().flatten().ok_or_else(|| {
            let known: Vec<&str> = shipped::OVERLAYS.iter().map(|overlay| overlay.name).collect();
            let what = format!("there is no such overlay; node {} names it", node.name);
            fail(name, "rootfs", yaml::unknown(&what, name.as_str(), &known))
        })
    }

    fn overlay(
        &self,
        name: &OverlayName,
        context: Context,
        node: &Node,
        facts: &Facts,
        values: &Value,
    ) -> Result<Vec<Bundle>, RenderError> {
        let compiled = self.find(name, node)?;
        let work = Work { name, compiled: &compiled, node, values, facts: facts.id };
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
            let reload = if context == Context::Runtime { compiled.overlay.rules.reload.clone() } else { vec![] };
            Bundle { name: name.clone(), context, entries, reload }
        };
        Ok(bundles.map(bundle).collect())
    }
}

/// The overlays of a node in the order in which they are applied.
fn overlays_of(node: &Node) -> impl Iterator<Item = (OverlayName, Context)> {
    let agent = AGENT.parse::<OverlayName>().ok().filter(|agent| !node.system_overlays.contains(agent));
    let system = node.system_overlays.iter().cloned().chain(agent).map(|name| (name, Context::System));
    system.chain(node.runtime_overlays.iter().cloned().map(|name| (name, Context::Runtime)))
}

fn fits(size: usize, name: &OverlayName, node: &Node) -> Result<(), RenderError> {
    if size <= OVERLAYS_MAX {
        return Ok(());
    }
    Err(fail(name, "rootfs", format!("the overlays of node {} have more than {OVERLAYS_MAX} bytes", node.name)))
}

fn size_of(bundles: &[Bundle]) -> usize {
    bundles.iter().flat_map(|bundle| &bundle.entries).map(entry_len).sum()
}

/// What an entry takes on the wire, roughly; a million empty files are not nothing.
fn entry_len(entry: &Entry) -> usize {
    let content = match &entry.kind {
        EntryKind::File(bytes) | EntryKind::Packed { zstd: bytes, .. } => bytes.len(),
        EntryKind::Symlink(target) => target.len(),
        EntryKind::Directory | EntryKind::Absent | EntryKind::Known { .. } => 0,
    };
    entry.path.len() + content + 32
}

pub(super) fn fail(overlay: &OverlayName, file: impl Into<String>, message: impl Into<String>) -> RenderError {
    RenderError { overlay: overlay.to_string(), file: file.into(), line: None, message: message.into() }
}

pub(super) fn from_template(overlay: &OverlayName, file: &str, error: &minijinja::Error) -> RenderError {
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
        groups => facts.groups.clone(),
        cluster => facts.cluster.clone(),
        agent => facts.agent.clone(),
        ssh => ssh,
        bmc => context! { password => node.ipmi.password.as_ref().map(|password| password.expose().to_owned()) },
    }
}
