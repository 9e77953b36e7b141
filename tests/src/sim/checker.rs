//! Safety, after every input and output of every engine: whatever happens, none of this may.

use std::collections::{BTreeMap, BTreeSet};

use wulfpack_shared::sim::{Observer, Spec, Transfer};
use wulfpack_shared::swarm::{Engine, Event, ImageIx, Input, Output, PeerIx, PeerMessage, ReqId, ServeId};
use wulfpack_shared::time::Mono;

use super::audit::{Audit, Plant};

const IMAGE: ImageIx = ImageIx(0);

#[derive(Debug, Default)]
struct Seen {
    /// Units that were verified on the member.
    verified: BTreeSet<u32>,
    /// Units that arrived again.
    again: u64,
    requests: BTreeSet<ReqId>,
    cancelled: BTreeSet<ReqId>,
    /// Requests of peers that have no answer yet.
    open: BTreeMap<ServeId, PeerIx>,
    serving: BTreeMap<ServeId, PeerIx>,
    complete: bool,
}

/// Watches a simulation and keeps what it found wrong.
#[derive(Debug)]
pub struct Checker {
    spec: Spec,
    liars: Vec<u32>,
    seen: BTreeMap<u32, Seen>,
    audit: Audit,
    /// What must not have happened.
    pub faults: Vec<String>,
    /// When the head said that all is held by two live nodes.
    pub covered: Option<Mono>,
    /// Who suspected itself.
    pub self_suspects: BTreeSet<u32>,
    /// How often a node said that nobody holds what it misses.
    pub starved: u32,
}

impl Checker {
    /// For a simulation; liars may lie.
    pub fn new(spec: &Spec, liars: &[u32]) -> Self {
        let (seen, faults, audit) = (BTreeMap::new(), vec![], Audit::new(Plant::from(spec)));
        Self {
            spec: spec.clone(),
            liars: liars.to_vec(),
            seen,
            audit,
            faults,
            covered: None,
            self_suspects: BTreeSet::new(),
            starved: 0,
        }
    }

    /// What must not have happened, all that was carried included.
    pub fn findings(&self) -> Vec<String> {
        self.faults.iter().cloned().chain(self.audit.findings()).collect()
    }

    fn must(&mut self, holds: bool, at: Mono, member: u32, what: &str) {
        if !holds && self.faults.len() < 20 {
            self.faults.push(format!("{:.6} s, member {member}: {what}", at.0 as f64 / 1e9));
        }
    }

    /// Units that members received although they held them.
    pub fn received_again(&self) -> u64 {
        self.seen.values().map(|seen| seen.again).sum()
    }

    fn announced(&mut self, at: Mono, member: u32, message: &PeerMessage) {
        let PeerMessage::Have { ranges, .. } = message else { return };
        let seen = self.seen.entry(member).or_default();
        let honest = ranges.iter().flat_map(|run| run.iter()).all(|unit| seen.verified.contains(&unit));
        self.must(honest, at, member, "announces what it has not verified");
    }

    fn limits(&mut self, at: Mono, member: u32, engine: &Engine) {
        let Some(config) = self.spec.members.get(member as usize).map(|member| member.config) else { return };
        let stats = engine.stats();
        let seen = self.seen.entry(member).or_default();
        let (serving, open) = (seen.serving.len(), seen.open.len());
        let slots = usize::from(config.slots_up);
        self.must(stats.in_flight <= 2 * u32::from(config.slots_down), at, member, "too many requests");
        self.must(stats.peers <= u32::from(config.neighbours_max), at, member, "too many neighbours");
        self.must(serving <= 2 * slots, at, member, "serves more than its slots");
        self.must(open <= 2 * slots + 1, at, member, "queues more than one request for each slot");
    }
}

impl Observer for Checker {
    fn input(&mut self, at: Mono, member: u32, _engine: &Engine, input: &Input) {
        let seen = self.seen.entry(member).or_default();
        match input {
            Input::Image { .. } => {
                *seen = Seen { again: seen.again, ..Seen::default() }; // a new life
            }
            Input::Held { run, .. } => {
                seen.verified.extend(run.iter());
                run.iter().for_each(|unit| self.audit.verified(at, member, unit));
            }
            Input::Verified { req, unit } => {
                let asked = seen.requests.contains(req);
                seen.again += u64::from(!seen.verified.insert(*unit));
                self.must(asked, at, member, "a unit arrives for which no request stands");
            }
            Input::Ended { req, .. } => {
                let once = seen.requests.remove(req);
                seen.cancelled.remove(req);
                self.must(once, at, member, "a request ends twice");
            }
            Input::Asked { serve, peer, .. } => drop(seen.open.insert(*serve, *peer)),
            Input::Served { serve, .. } => {
                seen.serving.remove(serve);
                seen.open.remove(serve);
            }
            // Its slots are free at once; what it had queued is refused.
            Input::Disconnected { peer }
            | Input::Connected { peer, .. }
            | Input::Message { peer, message: PeerMessage::Full | PeerMessage::Bye } => {
                seen.serving.retain(|_, asker| asker != peer);
            }
            _ => {}
        }
    }

    fn output(&mut self, at: Mono, member: u32, engine: &Engine, output: &Output) {
        let seen = self.seen.entry(member).or_default();
        match output {
            Output::Fetch { req, .. } => {
                let new = seen.requests.insert(*req);
                self.must(
                    new && !self.spec.is_head(member),
                    at,
                    member,
                    "a request's id comes twice, or a head fetches",
                );
            }
            Output::Cancel { req } => {
                let right = seen.requests.contains(req) && seen.cancelled.insert(*req);
                self.must(right, at, member, "cancels what is not under way, or twice");
            }
            Output::Serve { serve, run, .. } => {
                let held = run.iter().all(|unit| seen.verified.contains(&unit) && engine.is_held(IMAGE, unit));
                let asker = seen.open.remove(serve);
                let asked = asker.is_some_and(|asker| seen.serving.insert(*serve, asker).is_none());
                self.must(held, at, member, "serves what it has not verified");
                self.must(asked, at, member, "serves what nobody asked for, or twice");
            }
            Output::Refuse { serve, .. } => {
                let asked = seen.open.remove(serve).is_some();
                self.must(asked, at, member, "refuses what nobody asked for, or twice");
            }
            Output::Send { message, .. } => self.announced(at, member, message),
            Output::Close { peer, .. } => seen.serving.retain(|_, asker| asker != peer),
            Output::Event(Event::Complete { .. }) => {
                let (whole, once) = (seen.verified.len() as u32 == self.spec.image.units.total(), !seen.complete);
                seen.complete = true;
                self.must(whole && once, at, member, "says complete too early, or twice");
            }
            Output::Event(Event::Covered { .. }) => drop(self.covered.get_or_insert(at)),
            Output::Event(Event::Starved { .. }) => self.starved += 1,
            Output::Event(Event::SelfSuspect) => {
                let by_liars = self.liars.len() >= 3 || self.liars.contains(&member);
                self.self_suspects.insert(member);
                self.must(by_liars, at, member, "suspects itself without reason");
            }
            _ => {}
        }
        self.limits(at, member, engine);
    }

    fn transfer(&mut self, transfer: &Transfer) {
        let sender = self.seen.entry(transfer.from).or_default();
        let holds = sender.verified.contains(&transfer.unit);
        self.must(holds, transfer.begun, transfer.from, "sends a unit before it has verified it");
        self.audit.transfer(transfer);
    }

    fn verified(&mut self, at: Mono, member: u32, unit: u32) {
        self.audit.verified(at, member, unit);
    }
}
