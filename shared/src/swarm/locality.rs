//! Racks: an uplink that the whole rack shares carries each unit once or twice, not once for each node. A node asks other racks
//! only for what no neighbour in its own is known to hold, and only with as many flows as it drew for itself: the rack's cap,
//! divided by chance among its nodes. Nobody needs to be asked for that, so it holds while the tracker is dead.

use core::time::Duration;

use super::machine::Engine;
use super::peers::Peer;
use super::picker::below;
use crate::time::Mono;

/// Run times between two draws.
const REDRAW_RUNS: u32 = 256;
/// The least time between two draws: before the first run has been timed.
const REDRAW_LEAST: Duration = Duration::from_millis(50);

/// What this node knows of its rack, and what it drew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Locality {
    size: u32,
    cap: u32,
    allowed: usize,
    pub(super) redraw_at: Option<Mono>,
}

impl Locality {
    /// Whether flows from other racks are limited.
    pub(super) const fn is_capped(&self) -> bool {
        self.redraw_at.is_some()
    }
}

impl Engine {
    /// The tracker said how many members the node's rack has, and how many flows from other racks it may have (0: no limit).
    pub(super) fn on_rack(&mut self, now: Mono, size: u32, cap: u32) {
        let was_capped = self.locality.is_capped();
        (self.locality.size, self.locality.cap) = (size, cap);
        let slots = u32::from(self.config.slots_down);
        let capped = !self.config.is_head() && cap > 0 && size > 0 && cap < size.saturating_mul(slots);
        if !capped {
            self.locality.redraw_at = None;
        } else if !was_capped {
            self.redraw(now);
        }
        if was_capped != self.locality.is_capped() {
            self.look_near();
        }
        self.hungry = true;
    }

    /// Finds out what the own rack holds, which is not followed while nothing is limited.
    fn look_near(&mut self) {
        for (index, image) in self.images.iter_mut().enumerate() {
            let Some(image) = image else { continue };
            image.forget_near();
            if !self.locality.is_capped() {
                continue;
            }
            let near = self.peers.values().filter(|peer| peer.is_near());
            for theirs in near.filter_map(|peer| peer.images.get(index)?.as_ref()) {
                theirs.has.iter().for_each(|unit| image.near_holder(unit, true));
            }
        }
    }

    /// Draws how many flows from other racks this node may have: on average its share of the rack's.
    pub(super) fn redraw(&mut self, now: Mono) {
        let near = self.peers.values().filter(|peer| peer.is_near()).count();
        let size = self.locality.size.max(u32::try_from(near).unwrap_or(0) + 1);
        let chance = below(&mut self.rng, size);
        self.locality.allowed = (self.locality.cap / size + u32::from(chance < self.locality.cap % size)) as usize;
        let alone = self.pace.run() / u32::from(self.config.slots_down.max(1));
        self.locality.redraw_at = Some(now + (alone * REDRAW_RUNS).max(REDRAW_LEAST));
        self.hungry = true;
    }

    /// Whether one more flow from another rack may begin; `held`: for a slot that is held already.
    pub(super) fn may_cross(&self, held: bool) -> bool {
        if !self.locality.is_capped() {
            return true;
        }
        let far = |slot: &&super::source::DownSlot| self.peers.get(&slot.peer).is_some_and(Peer::is_far);
        let flows = self.down.iter().filter(far).count();
        flows < self.locality.allowed + usize::from(held)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Choice, Config, ImageIx, Input, Output, PeerIx, PeerKind, PeerMessage};
    use super::*;
    use crate::image::{Run, Units};
    use crate::time::Now;

    const IMAGE: ImageIx = ImageIx(0);
    const NEAR: PeerIx = PeerIx(1);

    /// A node with the table of 64 chunks, one neighbour in its rack and four in others, in a rack of `size` with a cap.
    fn node(seed: u64, size: u32, cap: u32) -> Engine {
        let mut engine = Engine::new(Config::node(), seed, Now::default());
        let units = Units { pages: 1, chunks: 64, table_len: 64 * 36, blob_len: 64 << 18 };
        let lens: Arc<[u32]> = vec![1 << 18; 64].into();
        let mut give = |input| engine.handle_input(Now::default(), input);
        give(Input::Image { image: IMAGE, units });
        give(Input::Held { image: IMAGE, run: Run::one(0) });
        give(Input::Table { image: IMAGE, lens });
        give(Input::Rack { size, cap });
        for peer in 1..=5 {
            let (peer, same_rack) = (PeerIx(peer), peer == 1);
            give(Input::Connected { peer, kind: PeerKind::Node, same_rack, dialled: false });
        }
        engine
    }

    fn say(engine: &mut Engine, peer: PeerIx, message: PeerMessage) {
        engine.handle_input(Now::default(), Input::Message { peer, message });
    }

    fn have(first: u32, count: u32) -> PeerMessage {
        PeerMessage::Have { image: IMAGE, ranges: vec![Run { first, count }] }
    }

    /// Whom it asked for what since the last call.
    fn asked(engine: &mut Engine) -> Vec<(PeerIx, Run)> {
        core::iter::from_fn(|| engine.poll_output())
            .filter_map(|output| match output {
                Output::Fetch { peer, choice: Choice::Run(run), .. } => Some((peer, run)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn nobody_asks_another_rack_for_what_its_own_holds() {
        let mut engine = node(1, 4, 8);
        say(&mut engine, NEAR, have(1, 32));
        for far in 2..=5 {
            say(&mut engine, PeerIx(far), have(1, 64));
            say(&mut engine, PeerIx(far), PeerMessage::Slots { free: 2 });
        }
        let asked = asked(&mut engine);
        assert!(!asked.is_empty());
        assert!(asked.iter().all(|(_, run)| run.first > 32), "{asked:?}");
    }

    #[test]
    fn when_the_neighbour_in_the_rack_goes_its_units_are_asked_of_other_racks() {
        let mut engine = node(1, 4, 8);
        say(&mut engine, NEAR, have(1, 64));
        say(&mut engine, PeerIx(2), have(1, 64));
        say(&mut engine, PeerIx(2), PeerMessage::Slots { free: 4 });
        assert_eq!(asked(&mut engine), []);
        engine.handle_input(Now::default(), Input::Disconnected { peer: NEAR });
        assert!(!asked(&mut engine).is_empty());
    }

    #[test]
    fn the_nodes_of_a_rack_draw_as_many_flows_as_it_may_have() {
        let flows: usize = (0..1000)
            .map(|seed| {
                let mut engine = node(seed, 40, 16);
                for far in 2..=5 {
                    say(&mut engine, PeerIx(far), have(1, 64));
                    say(&mut engine, PeerIx(far), PeerMessage::Slots { free: 1 });
                }
                asked(&mut engine).iter().map(|&(peer, _)| peer).collect::<std::collections::BTreeSet<_>>().len()
            })
            .sum();
        assert!((340..460).contains(&flows), "{flows} flows of 1000 nodes, where 400 are meant");
    }

    #[test]
    fn racks_of_unknown_size_or_without_a_cap_are_not_limited() {
        for (size, cap) in [(0, 16), (40, 0), (4, 16)] {
            let mut engine = node(1, size, cap);
            for far in 2..=5 {
                say(&mut engine, PeerIx(far), have(1, 64));
                say(&mut engine, PeerIx(far), PeerMessage::Slots { free: 1 });
            }
            assert!(asked(&mut engine).len() >= 4, "size {size}, cap {cap}");
        }
    }
}
