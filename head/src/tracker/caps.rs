//! How many flows may enter each rack.

use std::collections::BTreeMap;

use wulfpack_shared::id::RackName;

/// Inbound cross-rack flows; 0 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RackCaps {
    /// Of a rack that is not named.
    pub usual: u32,
    /// Of these racks.
    pub of: BTreeMap<RackName, u32>,
}

impl RackCaps {
    /// Whether no rack has a limit.
    pub fn is_empty(&self) -> bool {
        self.usual == 0 && self.of.values().all(|cap| *cap == 0)
    }

    /// That of this rack; an unknown one has none.
    pub fn of_rack(&self, rack: Option<&RackName>) -> u32 {
        rack.map_or(0, |rack| self.of.get(rack).copied().unwrap_or(self.usual))
    }
}

impl From<u32> for RackCaps {
    fn from(usual: u32) -> Self {
        Self { usual, of: BTreeMap::new() }
    }
}
