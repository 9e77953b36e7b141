//! What a node's overlays come to, without making them again: each part is kept for as long as nothing that it was made from has
//! changed. Of what that is, the templates' sources tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wulfpack_shared::id::{Hash, NodeName};
use wulfpack_shared::overlay::{Bundle, Context, hash_of_set, set_hash};

use super::compiled::Compiled;
use super::facts::Facts;
use crate::registry::Node;

/// What all overlays of a node come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// As [`set_hash`] of its system overlays.
    pub system: Hash,
    /// Of its runtime overlays.
    pub runtime: Hash,
    /// Bytes of all files.
    pub bytes: usize,
}

/// What one overlay comes to for one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    compiled: u64,
    /// Number of the facts; 0 where none but those of the configuration count.
    facts: u64,
    hashes: [Option<Hash>; 2],
    bytes: usize,
    /// What it counts against the limit.
    pub(super) size: usize,
}

impl Part {
    pub(super) fn new(compiled: &Compiled, facts: &Facts, bundles: &[Bundle], size: usize) -> Self {
        let of = |context| bundles.iter().find(|bundle| bundle.context == context).map(Bundle::hash);
        let hashes = [of(Context::System), of(Context::Runtime)];
        let bytes = bundles.iter().map(Bundle::len).sum();
        Self { compiled: compiled.id, facts: number(compiled, facts), hashes, bytes, size }
    }

    fn is_of(&self, compiled: &Compiled, facts: &Facts) -> bool {
        !compiled.all_look.at_files && self.compiled == compiled.id && self.facts == number(compiled, facts)
    }
}

/// Numbers of facts begin with 0, which says here that they do not count.
fn number(compiled: &Compiled, facts: &Facts) -> u64 {
    if compiled.all_look.at_all { facts.id + 1 } else { 0 }
}

impl Digest {
    /// Of bundles that were rendered.
    pub fn of_bundles(bundles: &[Bundle]) -> Self {
        let hash = |context| set_hash(bundles, context);
        let bytes = bundles.iter().map(Bundle::len).sum();
        Self { system: hash(Context::System), runtime: hash(Context::Runtime), bytes }
    }

    /// Of all parts, in the order in which they are applied.
    pub(super) fn of(parts: &[Part]) -> Self {
        let set = |index: usize| {
            let hashes: Vec<Hash> = parts.iter().filter_map(|part| part.hashes.get(index).copied().flatten()).collect();
            hash_of_set(&hashes)
        };
        Self { system: set(0), runtime: set(1), bytes: parts.iter().map(|part| part.bytes).sum() }
    }
}

/// One node's parts, and what they were made from.
#[derive(Debug)]
struct Known {
    node: Arc<Node>,
    settings: Hash,
    parts: Vec<Part>,
}

/// The parts of all nodes, and of overlays that are the same for all nodes.
#[derive(Debug, Default)]
pub(super) struct Digests {
    nodes: Mutex<BTreeMap<NodeName, Known>>,
    shared: Mutex<BTreeMap<(u64, u64, Hash, bool), Part>>,
}

impl Digests {
    /// Parts that were made for this node as it is now; they have to be asked whether they still count.
    pub(super) fn of(&self, node: &Arc<Node>, facts: &Facts) -> Vec<Part> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&Known| {
            known.settings == facts.settings && (Arc::ptr_eq(&known.node, node) || known.node == *node)
        };
        nodes.get(&node.name).filter(same).map(|known| known.parts.clone()).unwrap_or_default()
    }

    /// The part at this place of the node's overlays, or the one that all nodes have.
    pub(super) fn part(
        &self,
        known: &[Part],
        index: usize,
        (compiled, context): (&Compiled, Context),
        facts: &Facts,
    ) -> Option<Part> {
        if let Some(part) = known.get(index).filter(|part| part.is_of(compiled, facts)) {
            return Some(*part);
        }
        if !compiled.all_look.is_shared() {
            return None;
        }
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.get(&Self::name(compiled, context, facts)).copied()
    }

    fn name(compiled: &Compiled, context: Context, facts: &Facts) -> (u64, u64, Hash, bool) {
        (compiled.id, number(compiled, facts), facts.settings, context == Context::System)
    }

    /// Keeps a part that all nodes have.
    pub(super) fn share(&self, (compiled, context): (&Compiled, Context), facts: &Facts, part: Part) {
        if compiled.all_look.is_shared() {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            // Others of this overlay are of an earlier source, or of earlier facts.
            shared.retain(|(id, number, ..), _| *id != compiled.id || *number == part.facts);
            shared.insert(Self::name(compiled, context, facts), part);
        }
    }

    /// Keeps the parts of a node.
    pub(super) fn keep(&self, node: &Arc<Node>, facts: &Facts, parts: Vec<Part>) {
        let known = Known { node: Arc::clone(node), settings: facts.settings, parts };
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(node.name.clone(), known);
    }

    /// Forgets nodes that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&NodeName) -> bool) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_there(name));
    }
}
