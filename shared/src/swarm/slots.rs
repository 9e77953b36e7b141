//! Who is told of free slots. A free slot is offered to one peer at first, those that came in vain before all others; while
//! nobody takes it, to twice as many after each round trip, as measured. So a slot waits for a few round trips at most, and few come in vain.

use core::time::Duration;

use super::machine::Engine;
use super::picker::below;
use super::{Output, PeerIx, PeerMessage};
use crate::time::Mono;

/// What an answer to an offer takes in the fastest networks, and where it takes longest.
const REPLY: core::ops::RangeInclusive<Duration> = Duration::from_micros(200)..=Duration::from_millis(20);

/// A slot is released after so many runs, and up to twice as many: soon, for whoever is served by few for long falls behind, but
/// not before it has carried so many times what could be sent while a new holder is sought.
const TENURE: core::ops::RangeInclusive<u8> = 2..=20;
const TENURE_REPLIES: u32 = 8;

/// Offers under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offers {
    /// Peers told for each free slot.
    breadth: usize,
    /// When to tell more.
    pub(super) widen_at: Option<Mono>,
    /// How long an answer takes: the moving average for requests that were turned down, as nothing else delays those.
    reply: Duration,
}

impl Default for Offers {
    fn default() -> Self {
        Self { breadth: 0, widen_at: None, reply: *REPLY.start() }
    }
}

impl Offers {
    /// A request was turned down after so long.
    pub(super) fn replied(&mut self, took: Duration) {
        self.reply = ((self.reply * 7 + took) / 8).clamp(*REPLY.start(), *REPLY.end());
    }

    /// How long an offer waits for somebody to take it before more are told.
    pub(super) fn widen(&self) -> Duration {
        self.reply * 3 / 2
    }

    const fn over(&mut self) {
        (self.breadth, self.widen_at) = (0, None);
    }
}

impl Engine {
    /// Runs after which a slot is released at the earliest.
    pub(super) fn tenure(&self) -> u8 {
        let alone = self.pace.run() / u32::from(self.config.slots_down.max(1));
        let sought = self.offers.reply * TENURE_REPLIES;
        let runs = sought.as_nanos().checked_div(alone.as_nanos()).unwrap_or(0);
        u8::try_from(runs).unwrap_or(u8::MAX).clamp(*TENURE.start(), *TENURE.end())
    }

    /// Offers the free slots, if there are any.
    pub(super) fn offer(&mut self, now: Mono) {
        let free = self.free_slots();
        if free == 0 {
            self.offers.over();
            return;
        }
        if self.offers.breadth == 0 {
            self.offers.breadth = 1;
        } else if self.offers.widen_at.is_some_and(|at| at <= now) {
            self.offers.breadth *= 2;
            self.offers.widen_at = None;
        }
        let promised: usize = self.peers.values().map(|peer| usize::from(peer.told_free)).sum();
        let open = (free * self.offers.breadth).saturating_sub(promised);
        if open == 0 && self.offers.widen_at.is_some() {
            return;
        }
        let share = self.share();
        let mut takers = vec![];
        for (&ix, peer) in &self.peers {
            if peer.told_free == 0 && peer.crawls.is_over(now) && self.lacks(peer) {
                let room = self.room_for(ix, share, free);
                if room > 0 {
                    takers.push((
                        peer.came_in_vain.is_none(),
                        peer.came_in_vain,
                        below(&mut self.rng, u32::MAX),
                        ix,
                        room,
                    ));
                }
            }
        }
        takers.sort_unstable();
        let mut told = 0;
        let mut left = false;
        for (.., ix, room) in takers {
            left = told >= open;
            if left {
                break;
            }
            told += usize::from(room);
            self.say_slots(ix, room);
        }
        if left {
            let widen = self.offers.widen();
            self.offers.widen_at.get_or_insert(now + widen);
        } else {
            self.offers.widen_at = None;
        }
    }

    /// Tells peers that were offered more than there is.
    pub(super) fn withdraw_offers(&mut self) {
        let (share, free) = (self.share(), self.free_slots());
        let lower: Vec<(PeerIx, u8)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.told_free > 0)
            .map(|(&ix, peer)| (ix, peer.told_free.min(self.room_for(ix, share, free))))
            .filter(|(ix, room)| self.peers.get(ix).is_some_and(|peer| peer.told_free > *room))
            .collect();
        for (ix, room) in lower {
            self.say_slots(ix, room);
        }
    }

    fn say_slots(&mut self, ix: PeerIx, free: u8) {
        if let Some(peer) = self.peers.get_mut(&ix) {
            peer.told_free = free;
            if free > 0 {
                peer.came_in_vain = None;
            }
        }
        self.stats.slot_messages += 1;
        self.out.push_back(Output::Send { peer: ix, message: PeerMessage::Slots { free } });
    }

    /// Offers the free slots again to all who lack something: whatever a peer believes, it does not wait for ever.
    pub(super) fn remind(&mut self, now: Mono) {
        for peer in self.peers.values_mut() {
            peer.told_free = 0;
        }
        self.offers.breadth = usize::from(u16::MAX);
        self.offer(now);
        self.offers.over();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Choice, Config, ImageIx, Input, PeerKind, RefuseReason, ServeId};
    use super::*;
    use crate::image::{Run, Units};
    use crate::time::Now;

    const IMAGE: ImageIx = ImageIx(0);

    /// A complete node with one slot and five neighbours that hold nothing.
    fn seed() -> Engine {
        holder(10)
    }

    /// The same, with the first units only.
    fn holder(count: u32) -> Engine {
        let mut engine = Engine::new(Config { slots_up: 1, ..Config::node() }, 1, Now::default());
        let units = Units { pages: 1, chunks: 9, table_len: 9 * 36, blob_len: 9 << 18 };
        let lens: Arc<[u32]> = vec![1 << 18; 9].into();
        for input in [
            Input::Image { image: IMAGE, units },
            Input::Table { image: IMAGE, lens },
            Input::Held { image: IMAGE, run: Run { first: 0, count } },
        ] {
            engine.handle_input(Now::default(), input);
        }
        for peer in 1..=5 {
            let met = Input::Connected { peer: PeerIx(peer), kind: PeerKind::Node, same_rack: true, dialled: false };
            engine.handle_input(Now::default(), met);
        }
        engine
    }

    /// The slots that were offered since the last call.
    fn said(engine: &mut Engine) -> Vec<(PeerIx, u8)> {
        core::iter::from_fn(|| engine.poll_output())
            .filter_map(|output| match output {
                Output::Send { peer, message: PeerMessage::Slots { free } } => Some((peer, free)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_free_slot_is_offered_to_few_and_to_more_only_while_nobody_takes_it() {
        let mut engine = seed();
        assert_eq!(said(&mut engine), [(PeerIx(1), 1)]);
        for (round, more) in [(1, 1), (2, 2), (3, 1), (4, 0)] {
            engine.handle_input(Now::mono(Mono::ZERO + Offers::default().widen() * round), Input::Tick);
            assert_eq!(said(&mut engine).len(), more, "round {round}");
        }
    }

    #[test]
    fn a_slot_that_is_taken_is_withdrawn_and_offered_next_to_who_came_in_vain() {
        let mut engine = seed();
        engine.handle_input(Now::mono(Mono::ZERO + Offers::default().widen()), Input::Tick);
        let told = said(&mut engine);
        let choice = Choice::Run(Run::one(3));
        let mut ask = |peer, serve| {
            engine.handle_input(
                Now::mono(Mono::from_millis(1)),
                Input::Asked { peer: PeerIx(peer), serve: ServeId(serve), image: IMAGE, choice },
            );
        };
        let (takes, vain) = (1, if told.iter().any(|&(peer, _)| peer == PeerIx(2)) { 3 } else { 2 });
        ask(takes, 1);
        ask(vain, 2);
        let outputs: Vec<Output> = core::iter::from_fn(|| engine.poll_output()).collect();
        let withdrawn =
            |output: &&Output| matches!(output, Output::Send { message: PeerMessage::Slots { free: 0 }, .. });
        assert_eq!(outputs.iter().filter(withdrawn).count(), told.len() - 1);
        assert!(outputs.contains(&Output::Refuse { serve: ServeId(2), reason: RefuseReason::Busy }));
        engine.handle_input(Now::mono(Mono::from_millis(2)), Input::Served { serve: ServeId(1), complete: true });
        assert_eq!(said(&mut engine), [(PeerIx(vain), 1)]);
    }

    #[test]
    fn a_receiver_that_takes_a_byte_a_second_loses_its_slot_and_waits_for_the_next() {
        let mut engine = holder(9);
        let at = |secs: u64| Now::mono(Mono::from_millis(secs * 1000));
        let choice = Choice::Run(Run::one(3));
        let asked = |peer, serve| Input::Asked { peer: PeerIx(peer), serve: ServeId(serve), image: IMAGE, choice };
        engine.handle_input(at(0), asked(1, 1));
        engine.handle_input(at(59), Input::Tick);
        assert!(!core::iter::from_fn(|| engine.poll_output()).any(|output| output == Output::Break(ServeId(1))));
        engine.handle_input(at(61), Input::Tick);
        engine.handle_input(at(62), Input::Tick);
        let broken = core::iter::from_fn(|| engine.poll_output()).filter(|output| *output == Output::Break(ServeId(1)));
        assert_eq!(broken.count(), 1);
        engine.handle_input(at(62), Input::Served { serve: ServeId(1), complete: false });
        engine.handle_input(at(63), asked(1, 2));
        engine.handle_input(at(64), asked(2, 3));
        let answers: Vec<Output> = core::iter::from_fn(|| engine.poll_output())
            .filter(|output| matches!(output, Output::Serve { .. } | Output::Refuse { .. }))
            .collect();
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert_eq!(answers[0], Output::Refuse { serve: ServeId(2), reason: RefuseReason::Busy });
        assert!(matches!(answers[1], Output::Serve { serve: ServeId(3), .. }));
        engine.handle_input(at(65), Input::Served { serve: ServeId(3), complete: true });
        engine.handle_input(at(90), asked(1, 4));
        assert!(core::iter::from_fn(|| engine.poll_output()).any(|output| matches!(output, Output::Serve { .. })));
    }
}
