//! Transfers under way.

use crate::swarm::{ReqId, ServeId};
use crate::time::Mono;

/// A flow, by its place and by how often the place has been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowId {
    slot: u32,
    use_of: u32,
}

/// A run on its way from one member to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) to_life: u32,
    pub(super) serve: ServeId,
    pub(super) req: ReqId,
    /// The unit that is sent next, and how much of it has been sent.
    pub(super) next: u32,
    pub(super) offset: u32,
    pub(super) end: u32,
    /// When the next piece may be sent, and those after it.
    pub(super) ready: [Mono; WINDOW],
}

/// How many pieces of a flow may be under way.
pub(super) const WINDOW: usize = 4;
/// How many of those on a path of two links.
pub(super) const SHORT_WINDOW: usize = 2;
/// Nobody knows when.
pub(super) const NEVER: Mono = Mono(u64::MAX);

impl Flow {
    /// What `ready` is at first, on a path through the core of the network or not.
    pub(super) const fn window(long: bool) -> [Mono; WINDOW] {
        let mut ready = [Mono::ZERO; WINDOW];
        let mut place = if long { WINDOW } else { SHORT_WINDOW };
        while place < WINDOW {
            ready[place] = NEVER;
            place += 1;
        }
        ready
    }

    /// A piece is under way.
    pub(super) fn sent(&mut self) {
        self.ready.rotate_left(1);
        self.ready[WINDOW - 1] = NEVER;
    }

    /// A piece is taken in at `at`: another may be sent then.
    pub(super) fn taken(&mut self, at: Mono) {
        if let Some(place) = self.ready.iter_mut().find(|ready| **ready == NEVER) {
            *place = at;
        }
    }
}

/// All flows.
#[derive(Debug, Default)]
pub(super) struct Flows {
    slots: Vec<(u32, Option<Flow>)>,
    free: Vec<u32>,
}

impl Flows {
    pub(super) fn insert(&mut self, flow: Flow) -> FlowId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let (use_of, place) = &mut self.slots[slot as usize];
        *place = Some(flow);
        FlowId { slot, use_of: *use_of }
    }

    pub(super) fn get(&self, id: FlowId) -> Option<&Flow> {
        self.slots.get(id.slot as usize).filter(|slot| slot.0 == id.use_of)?.1.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.slots.get_mut(id.slot as usize).filter(|slot| slot.0 == id.use_of)?.1.as_mut()
    }

    pub(super) fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.0 == id.use_of)?;
        let flow = slot.1.take()?;
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(id.slot);
        Some(flow)
    }
}
