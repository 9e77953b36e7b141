//! The members of one image's swarm, in lists from which one can be drawn at random in constant time.

use std::collections::BTreeMap;

use wulfpack_shared::id::RackName;

/// A member, by its dense index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ix(pub(super) u32);

/// Where a member stands in the two lists.
#[derive(Clone, Copy, Debug)]
struct Place {
    all: usize,
    rack: usize,
}

/// Everybody who wants or holds one image.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    all: Vec<Ix>,
    racks: BTreeMap<Option<RackName>, Vec<Ix>>,
    places: BTreeMap<Ix, Place>,
}

impl Swarm {
    /// Adds a member; adding it again changes nothing.
    pub(super) fn insert(&mut self, member: Ix, rack: Option<&RackName>) {
        if self.places.contains_key(&member) {
            return;
        }
        let same = self.racks.entry(rack.cloned()).or_default();
        self.places.insert(member, Place { all: self.all.len(), rack: same.len() });
        self.all.push(member);
        same.push(member);
    }

    /// Removes a member that was inserted with this rack.
    pub(super) fn remove(&mut self, member: Ix, rack: Option<&RackName>) {
        let Some(place) = self.places.remove(&member) else { return };
        self.all.swap_remove(place.all);
        if let Some(moved) = self.all.get(place.all).and_then(|ix| self.places.get_mut(ix)) {
            moved.all = place.all;
        }
        let key = rack.cloned();
        let Some(same) = self.racks.get_mut(&key) else { return };
        same.swap_remove(place.rack);
        if let Some(moved) = same.get(place.rack).and_then(|ix| self.places.get_mut(ix)) {
            moved.rack = place.rack;
        }
        if same.is_empty() {
            self.racks.remove(&key);
        }
    }

    /// All members, in no meaningful order.
    pub(super) fn all(&self) -> &[Ix] {
        &self.all
    }

    /// Those in this rack.
    pub(super) fn in_rack(&self, rack: &RackName) -> &[Ix] {
        self.racks.get(&Some(rack.clone())).map_or(&[], Vec::as_slice)
    }

    /// Whether nobody is left.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
