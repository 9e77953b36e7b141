//! The tail of a fetch: requests that are overdue, the endgame, and what to do when nobody offers what is missing.

use core::time::Duration;

use super::deadline::FIRST_BACKOFF;
use super::machine::Engine;
use super::source::DownSlot;
use super::{Choice, Event, ImageIx, Output, PeerIx, ReqId};
use crate::image::Run;
use crate::limits::RUN_UNITS_MAX;
use crate::time::Mono;

/// Deadlines are looked at so often in the time of the shortest one at most.
const LOOKS: u32 = 8;
const SHORTEST_LOOK: Duration = Duration::from_millis(8);
/// So many times what a run hardly ever takes longer than: a head that is asked earlier sends what is about to come from a
/// neighbour.
const STARVED_RUNS: u32 = 4;
/// How long nobody reachable must have lacked what we miss before it is said, and how often it is said.
const STARVED_AFTER: Duration = Duration::from_secs(2);
const STARVED_EACH: Duration = Duration::from_secs(10);

impl Engine {
    /// When the request is overdue; `None` while it is queued or already given up.
    fn due(&self, req: ReqId) -> Option<Mono> {
        let request = self.requests.get(&req).filter(|request| !request.cancelled)?;
        let begun = request.begun?;
        let deadline = self.deadline_of(request);
        // Silence counts only where the shell reports progress at all.
        let heard = request.heard.max(begun);
        let silent = heard + (deadline / 2).max(self.config.deadline_floor);
        let due = if self.hears_progress { silent.min(begun + deadline) } else { begun + deadline };
        // Where nothing has arrived since, from anybody, it may be this machine that paused.
        let alone = self.last_heard <= heard;
        Some(if alone { due.max(heard + self.config.silence_floor) } else { due })
    }

    pub(super) fn deadline_of(&self, request: &super::fetch::Request) -> Duration {
        self.pace.deadline(&self.config, request.times)
    }

    /// Deadlines are looked at by then, but not all the time, and at least once in the shortest deadline: they come nearer as
    /// runs become faster.
    pub(super) fn look_by(&mut self, now: Mono, due: Mono) {
        let floor = self.config.deadline_floor.max(SHORTEST_LOOK);
        let at = due.max(now + floor / LOOKS).min(now + floor);
        self.look_at = Some(self.look_at.map_or(at, |look| look.min(at)));
    }

    /// Gives overdue requests up.
    pub(super) fn check_deadlines(&mut self, now: Mono) {
        self.look_at = None;
        for index in 0..self.down.len() {
            let slot = self.down[index];
            let Some(due) = self.due(slot.active) else { continue };
            if due > now {
                self.look_by(now, due);
                continue;
            }
            self.stats.missed += 1;
            self.pace.missed();
            self.cancel(slot.active);
            if let Some(next) = slot.next {
                self.cancel(next);
            }
            if let Some(peer) = self.peers.get_mut(&slot.peer) {
                peer.late.failed(now, FIRST_BACKOFF);
            }
            self.hungry = true;
        }
    }

    /// From when on an active request may be asked for a second time elsewhere.
    fn double_at(&self, req: ReqId) -> Option<Mono> {
        let request = self.requests.get(&req).filter(|request| self.may_double(request))?;
        Some(request.begun? + self.pace.run() * request.times * 3 / 2 + self.config.rtt * 2)
    }

    fn may_double(&self, request: &super::fetch::Request) -> bool {
        let single =
            |unit: u32| self.image(request.image).is_some_and(|image| image.pending.get(unit as usize) == Some(&1));
        !request.cancelled && request.units().next().is_some_and(single)
    }

    /// Everything missing is under way and slots are free: ask a second peer for what is queued or late. The first copy
    /// that arrives cancels the other.
    pub(super) fn endgame(&mut self, now: Mono) {
        if self.images.iter().flatten().any(|image| image.picker.len() > 0) {
            return;
        }
        let queued = self.down.iter().filter_map(|slot| slot.next);
        let late = self.down.iter().map(|slot| slot.active);
        let requests: Vec<ReqId> = queued.chain(late).collect();
        for req in requests {
            if self.down.len() >= usize::from(self.config.slots_down) {
                return;
            }
            let Some(request) = self.requests.get(&req).copied().filter(|request| self.may_double(request)) else {
                continue;
            };
            if let Some(at) = self.double_at(req).filter(|&at| at > now) {
                self.double_next = Some(self.double_next.map_or(at, |next| next.min(at)));
                continue;
            }
            let Some(run) = first_run(&request) else { continue };
            let Some(peer) = self.other_source(now, &request, run) else { continue };
            self.stats.endgame += 1;
            let double = self.send_request(now, peer, request.image, Choice::Run(run), Some(now));
            self.hold(peer, double);
        }
    }

    fn other_source(&self, now: Mono, request: &super::fetch::Request, run: Run) -> Option<PeerIx> {
        let may_cross = self.may_cross(false);
        let holds = |(ix, peer): &(&PeerIx, &super::peers::Peer)| {
            **ix != request.peer
                && !peer.is_head()
                && peer.free > 0
                && (!peer.is_far() || may_cross)
                && peer.is_usable(now)
                && run.iter().all(|unit| peer.has(request.image, unit))
                && !self.down.iter().any(|slot| slot.peer == **ix && slot.next.is_none())
        };
        let slots = |ix: PeerIx| self.down.iter().filter(|slot| slot.peer == ix).count();
        self.peers.iter().filter(holds).map(|(&ix, _)| ix).min_by_key(|&ix| (slots(ix), ix.0 ^ (self.next_req as u32)))
    }

    /// Notes since when no neighbour has offered anything.
    pub(super) fn look_around(&mut self, now: Mono) {
        let wants = self.images.iter().flatten().any(|image| image.picker.len() > 0);
        if wants && !self.neighbour_offers(now) && self.nothing_since.is_none() {
            self.nothing_since = Some(now);
        }
    }

    fn neighbour_offers(&mut self, now: Mono) -> bool {
        let capped = self.locality.is_capped();
        let images = &self.images;
        let node = |slot: &DownSlot| self.peers.get(&slot.peer).is_some_and(|peer| !peer.is_head());
        self.down.iter().any(node)
            || self.peers.values_mut().any(|peer| !peer.is_head() && peer.is_usable(now) && peer.offers(images, capped))
    }

    /// Whether no neighbour has offered anything for long: then a head may send what others hold.
    pub(super) fn is_starved(&mut self, now: Mono) -> bool {
        let long = if self.pace.run().is_zero() {
            self.pace.deadline(&self.config, 1)
        } else {
            self.pace.longest(&self.config, 1) * STARVED_RUNS
        };
        self.nothing_since.is_some_and(|since| now.since(since) >= long) && !self.neighbour_offers(now)
    }

    /// Says that nobody reachable holds what is missing, if that is so, and not too often.
    pub(super) fn report_starved(&mut self, now: Mono) {
        let heads = self.peers.values().any(super::peers::Peer::is_head);
        let long = self.nothing_since.is_some_and(|since| now.since(since) >= STARVED_AFTER);
        if heads || !long || now < self.starved_again || self.neighbour_offers(now) {
            return;
        }
        for (index, image) in (0u16..).zip(&self.images) {
            let Some(missing) =
                image.as_ref().map(|image| image.picker.with_copies(0)).filter(|missing| !missing.is_empty())
            else {
                continue;
            };
            self.starved_again = now + STARVED_EACH;
            let first = missing.iter().copied().min().unwrap_or(0);
            let missing = u32::try_from(missing.len()).unwrap_or(u32::MAX);
            self.out.push_back(Output::Event(Event::Starved { image: ImageIx(index), missing, first }));
        }
    }
}

/// The first stretch of units that a request still has to bring.
fn first_run(request: &super::fetch::Request) -> Option<Run> {
    let mut units = request.units();
    let mut run = Run::one(units.next()?);
    for unit in units {
        if unit != run.end() || run.count >= RUN_UNITS_MAX {
            break;
        }
        run.count += 1;
    }
    Some(run)
}
