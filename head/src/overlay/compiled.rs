//! An overlay ready to be rendered, and the results that are the same for all nodes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::{Environment, Value};
use wulfpack_shared::id::OverlayName;

use super::functions::Readable;
use super::output::{Made, take_apart};
use super::render::{RenderError, fail, from_template};
use super::source::{EACH, ItemKind, Overlay};
use super::template::{self, Looks};

/// Facts by their number, and what was made of them by path.
type Shared = (u64, BTreeMap<String, Arc<Vec<Made>>>);

/// See the file's head.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) overlay: Overlay,
    environment: Environment<'static>,
    /// What templates made that do not look at the node, by source path, for the facts of this number.
    shared: Mutex<Shared>,
    /// By source path: at what templates look.
    looks: BTreeMap<String, Looks>,
    /// At what any of them looks.
    pub(super) all_look: Looks,
    /// Tells this one from all others of this process: one overlay before and after a change are two.
    pub(super) id: u64,
}

impl Compiled {
    pub(super) fn new(name: &OverlayName, overlay: Overlay, readable: &Arc<Readable>) -> Result<Self, RenderError> {
        let mut templates = BTreeMap::new();
        for item in &overlay.items {
            if let ItemKind::Template(text) = &item.kind {
                templates.insert(item.path.clone(), text.clone());
            }
        }
        let environment = template::environment(templates.clone(), readable);
        let environment = environment.map_err(|error| from_template(name, "rootfs", &error))?;
        let look = |(path, text): (String, String)| {
            let mut looks = Looks::of(&environment, &path, &text);
            looks.at_node |= path.contains(EACH);
            (path, looks)
        };
        let looks: BTreeMap<_, _> = templates.into_iter().map(look).collect();
        let all_look = looks.values().copied().fold(Looks::default(), Looks::and);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { overlay, environment, shared: Mutex::default(), looks, all_look, id })
    }

    /// What the template `source` makes at `path`; once for all nodes if it does not look at the node.
    pub(super) fn render(
        &self,
        name: &OverlayName,
        source: &str,
        path: &str,
        facts: u64,
        values: impl FnOnce() -> Value,
    ) -> Result<Arc<Vec<Made>>, RenderError> {
        let shared = self.looks.get(source).is_some_and(|looks| looks.is_shared());
        // Held while rendering: of many nodes that ask at once the first does the work for all.
        let mut cache = shared.then(|| self.shared.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(cache) = &mut cache {
            if cache.0 != facts {
                **cache = (facts, BTreeMap::new());
            }
            if let Some(made) = cache.1.get(path) {
                return Ok(Arc::clone(made));
            }
        }
        let text = template::render(&self.environment, source, values());
        let text = text.map_err(|error| from_template(name, source, &error))?;
        let made = Arc::new(take_apart(path, text).map_err(|why| fail(name, source, why))?);
        if let Some(cache) = &mut cache {
            cache.1.insert(path.to_owned(), Arc::clone(&made));
        }
        Ok(made)
    }
}
