//! One overlay while it is rendered for one node.

use std::collections::BTreeSet;

use minijinja::{Value, context};
use wulfpack_shared::id::OverlayName;
use wulfpack_shared::overlay::{Context, Entry, EntryKind, is_clean};

use super::compiled::Compiled;
use super::render::{RenderError, fail, from_template};
use super::source::{EACH, Item, ItemKind, TEMPLATE};
use crate::registry::Node;

pub(super) struct Work<'a> {
    pub(super) name: &'a OverlayName,
    pub(super) compiled: &'a Compiled,
    pub(super) node: &'a Node,
    pub(super) values: &'a Value,
    /// Number of the facts in `values`.
    pub(super) facts: u64,
}

impl Work<'_> {
    /// All entries, parents before children, each with its context.
    pub(super) fn entries(&self, context: Context) -> Result<Vec<(Context, Entry)>, RenderError> {
        let rules = &self.compiled.overlay.rules;
        let mut unused: BTreeSet<&str> = rules.paths.keys().map(String::as_str).collect();
        let (mut entries, mut paths) = (vec![], BTreeSet::new());
        let absent = |path: &String| {
            let (kind, mode) = (EntryKind::Absent, 0);
            (context, Entry { path: path.clone(), kind, mode, uid: 0, gid: 0, secret: false })
        };
        entries.extend(rules.absent.iter().map(absent));
        let mut many = false;
        for item in &self.compiled.overlay.items {
            let path = item.path.strip_suffix(TEMPLATE).filter(|_| matches!(item.kind, ItemKind::Template(_)));
            let path = path.unwrap_or(&item.path);
            many |= matches!(&item.kind, ItemKind::Template(text) if text.contains("file("));
            let of_source = rules.paths.get(path);
            unused.remove(path);
            for mut made in self.item(item, path, of_source.is_some())? {
                let rule = rules.paths.get(&made.path).or(of_source);
                unused.remove(made.path.as_str());
                if let Some(rule) = rule {
                    made.mode = rule.mode().unwrap_or(made.mode);
                    made.uid = rule.uid.unwrap_or(made.uid);
                    made.gid = rule.gid.unwrap_or(made.gid);
                    made.secret = rule.secret;
                }
                if !is_clean(&made.path) || !paths.insert(made.path.clone()) {
                    let message = format!("{:?} is made twice or leaves the root", made.path);
                    return Err(fail(self.name, &item.path, message));
                }
                entries.push((rule.and_then(|rule| rule.context).unwrap_or(context), made));
            }
        }
        // Where a template names its files itself, one that this node does not have is no mistake.
        if let Some(path) = unused.first().filter(|_| !many) {
            return Err(fail(self.name, "overlay.yaml", format!("paths: {path}: there is no such path below rootfs")));
        }
        Ok(entries)
    }

    /// What one source path becomes for this node.
    fn item(&self, item: &Item, path: &str, has_rule: bool) -> Result<Vec<Entry>, RenderError> {
        let made = match &item.kind {
            ItemKind::File(bytes) => vec![entry(item, path, EntryKind::File(bytes.clone()))],
            ItemKind::Symlink(target) => vec![entry(item, path, EntryKind::Symlink(target.clone()))],
            // The agent makes missing parents; an entry would change the mode of a directory of the image. One that is not root's is
            // there for its owner.
            ItemKind::Directory { empty } if *empty || has_rule || (item.uid, item.gid) != (0, 0) => {
                vec![entry(item, path, EntryKind::Directory)]
            }
            ItemKind::Directory { .. } => vec![],
            ItemKind::Template(_) if path.contains(EACH) => {
                let interfaces = self.values.get_attr("node").and_then(|node| node.get_attr("interfaces"));
                let views = interfaces.and_then(|views| Ok(views.try_iter()?.collect::<Vec<_>>()));
                let views = views.map_err(|error| from_template(self.name, &item.path, &error))?;
                let mut made = vec![];
                for (interface, view) in self.node.interfaces.iter().zip(views) {
                    let values = context! { interface => view, ..self.values.clone() };
                    made.extend(self.render(item, &path.replace(EACH, &interface.net), || values)?);
                }
                made
            }
            ItemKind::Template(_) => self.render(item, path, || self.values.clone())?,
        };
        Ok(made)
    }

    fn render(&self, item: &Item, path: &str, values: impl FnOnce() -> Value) -> Result<Vec<Entry>, RenderError> {
        let values = || context! { overlay => self.name.as_str(), ..values() };
        let made = self.compiled.render(self.name, &item.path, path, self.facts, values)?;
        Ok(made.iter().map(|made| entry(item, &made.path, made.kind.clone())).collect())
    }
}

/// What the item makes at `path`, with its owner and mode.
fn entry(item: &Item, path: &str, kind: EntryKind) -> Entry {
    let mode = if matches!(kind, EntryKind::Symlink(_)) { 0o777 } else { item.mode };
    Entry { path: path.to_owned(), kind, mode, uid: item.uid, gid: item.gid, secret: false }
}
