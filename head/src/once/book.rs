//! All choices. What was chosen is in the store before anybody is told so; what was used is forgotten there right after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wulfpack_shared::id::{BootId, Mac, NodeName};
use wulfpack_shared::time::UnixTime;

use super::record::{OnceRecord, Step};
use crate::boot::Once;
use crate::registry::ImageRef;
use crate::store::{Store, StoreError};

/// Choices for the next boots of nodes. Clones share them.
#[derive(Clone, Debug)]
pub struct OnceBook {
    store: Arc<dyn Store>,
    known: Arc<Mutex<Known>>,
    /// Held while the store is written, so that the later of two states is written later. Taken before `known`.
    writing: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Known {
    records: BTreeMap<NodeName, OnceRecord>,
    /// Nodes of which the store says something else.
    dirty: BTreeSet<NodeName>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OnceBook {
    /// Those that lie in `store`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let known = Known { records: store.onces()?.into_iter().collect(), dirty: BTreeSet::new() };
        Ok(Self { store, known: Arc::new(Mutex::new(known)), writing: Arc::default() })
    }

    /// Chooses for these nodes, or takes the choice back. It is stored when this returns.
    ///
    /// # Errors
    /// The store cannot be written; then nothing has changed.
    pub fn choose(&self, nodes: &[NodeName], record: Option<&OnceRecord>) -> Result<(), StoreError> {
        let _writing = locked(&self.writing);
        self.store.put_onces(&nodes.iter().map(|node| (node, record)).collect::<Vec<_>>())?;
        let mut known = locked(&self.known);
        for node in nodes {
            known.dirty.remove(node);
            match record {
                Some(record) => drop(known.records.insert(node.clone(), record.clone())),
                None => drop(known.records.remove(node)),
            }
        }
        Ok(())
    }

    /// All of them, by node.
    pub fn all(&self) -> Vec<(NodeName, OnceRecord)> {
        locked(&self.known).records.iter().map(|(node, record)| (node.clone(), record.clone())).collect()
    }

    /// What the node's next script has to follow.
    pub fn waiting(&self, node: &NodeName) -> Option<Once> {
        locked(&self.known).records.get(node)?.waiting().cloned()
    }

    /// A machine of the node has loaded this. Returns what was used up by it. Does not block; where it returns something, or where
    /// [`Self::is_dirty`] says so, somebody has to [`Self::flush`].
    pub fn loaded(&self, node: &NodeName, step: Step, mac: Mac, now: UnixTime) -> Option<Once> {
        let mut known = locked(&self.known);
        let before = known.records.get(node)?.clone();
        match before.clone().loaded(step, mac, now) {
            Some(after) if after == before => return None,
            Some(after) => drop(known.records.insert(node.clone(), after)),
            None => drop(known.records.remove(node)),
        }
        known.dirty.insert(node.clone());
        before.waiting().cloned()
    }

    /// Whether the store does not know all yet.
    pub fn is_dirty(&self) -> bool {
        !locked(&self.known).dirty.is_empty()
    }

    /// Writes what has changed, for all nodes at once. Blocks for a flush of the disk.
    ///
    /// # Errors
    /// The store cannot be written; it is tried again with the next change.
    pub fn flush(&self) -> Result<(), StoreError> {
        let _writing = locked(&self.writing);
        let changed: Vec<(NodeName, Option<OnceRecord>)> = {
            let mut known = locked(&self.known);
            let dirty = std::mem::take(&mut known.dirty);
            dirty.into_iter().map(|node| (node.clone(), known.records.get(&node).cloned())).collect()
        };
        if changed.is_empty() {
            return Ok(());
        }
        let written = changed.iter().map(|(node, record)| (node, record.as_ref())).collect::<Vec<_>>();
        self.store.put_onces(&written).inspect_err(|_| {
            locked(&self.known).dirty.extend(changed.iter().map(|(node, _)| node.clone()));
        })
    }

    /// The image that the boot with this agent was meant to have. Blocks for a flush of the disk at the first join of that boot.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn joins(&self, node: &NodeName, boot: BootId) -> Result<Option<ImageRef>, StoreError> {
        let image = {
            let mut known = locked(&self.known);
            let Some(record) = known.records.get_mut(node) else { return Ok(None) };
            let before = record.clone();
            let image = record.joins(boot);
            if *record != before {
                known.dirty.insert(node.clone());
            }
            image
        };
        self.flush()?;
        Ok(image)
    }
}
