//! Who is in the swarm and whom each member gets to know. Pure; it keeps nothing: after a restart the members announce
//! themselves again, and until then every answer holds at least the head.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use wulfpack_shared::id::{PublicKey, RackName, VersionId};
use wulfpack_shared::limits::{NEIGHBOURS_MAX, PEER_ADDRS_MAX, PEERS_MAX};
use wulfpack_shared::time::{Mono, Now};
use wulfpack_shared::wire::{DataAddrs, PeerInfo, TrackAnswer, TrackImage, TrackRequest};

use super::caps::RackCaps;
use super::event::{Input, Output, Reason};
use super::swarm::{Ix, Swarm};

/// Most images that one member takes part in at a time.
const IMAGES_MAX: usize = 16;
/// Most members that are remembered; beyond it new ones are answered, but not named to others.
const MEMBERS_MAX: usize = 200_000;
/// Requests a second that the answers' `again_s` aims at.
const RATE: usize = 200;
/// Bounds of `again_s`, in seconds.
const AGAIN_S: (usize, usize) = (5, 120);
/// A member is silent for too long after this many intervals and [`GRACE`].
const SILENT_INTERVALS: u32 = 3;
const GRACE: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct Member {
    key: PublicKey,
    addrs: Vec<SocketAddr>,
    rack: Option<RackName>,
    images: Vec<TrackImage>,
    deadline: Mono,
    /// How often others were told of it.
    named: u32,
}

/// The tracker.
#[derive(Debug)]
pub struct Tracker {
    rng: ChaCha8Rng,
    caps: RackCaps,
    heads: Vec<PeerInfo>,
    members: Vec<Option<Member>>,
    free: Vec<Ix>,
    by_key: BTreeMap<PublicKey, Ix>,
    deadlines: BTreeSet<(Mono, Ix)>,
    swarms: BTreeMap<VersionId, Swarm>,
    epoch: u32,
    revoked: Vec<PublicKey>,
    output: VecDeque<Output>,
}

impl Tracker {
    /// A tracker that knows nobody. `seed` decides every draw. `caps`: inbound cross-rack flows of each rack.
    pub fn new(seed: [u8; 32], caps: impl Into<RackCaps>) -> Self {
        Self {
            rng: ChaCha8Rng::from_seed(seed),
            caps: caps.into(),
            heads: vec![],
            members: vec![],
            free: vec![],
            by_key: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            swarms: BTreeMap::new(),
            epoch: 0,
            revoked: vec![],
            output: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Tick => self.expire(now.mono),
            Input::Heads(heads) => self.heads = heads,
            Input::Track { ask, key, rack, seen, request } => {
                let answer = self.track(now.mono, key, rack, seen, request);
                self.output.push_back(Output::Answer { ask, answer });
            }
            Input::Forget(key) => self.forget(&key),
            Input::Revoked { epoch, keys } => {
                for key in &keys {
                    self.forget(key);
                }
                (self.epoch, self.revoked) = (epoch, keys);
            }
        }
    }

    /// What is to be done; drain it after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When to call again, and why.
    pub fn poll_timeout(&self) -> Option<(Mono, Reason)> {
        self.deadlines.first().map(|(at, _)| (*at, Reason::Expiry))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The images that have a swarm, and how many members each has.
    pub fn swarms(&self) -> impl Iterator<Item = (VersionId, usize)> {
        self.swarms.iter().map(|(image, swarm)| (*image, swarm.all().len()))
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn again_s(&self) -> u16 {
        u16::try_from((self.by_key.len() / RATE).clamp(AGAIN_S.0, AGAIN_S.1)).unwrap_or(u16::MAX)
    }

    fn track(
        &mut self,
        now: Mono,
        key: PublicKey,
        rack: Option<RackName>,
        seen: IpAddr,
        mut request: TrackRequest,
    ) -> TrackAnswer {
        request.images.truncate(IMAGES_MAX);
        let revoked = self.revoked.contains(&key);
        if request.leaving || revoked {
            self.forget(&key);
            return self.answer(vec![], 0, None);
        }
        let again = Duration::from_secs(u64::from(self.again_s()));
        let addrs = addresses(&request.data, seen);
        let images = request.images.clone();
        let deadline = now + again * SILENT_INTERVALS + GRACE;
        self.upsert(Member { key, addrs, rack: rack.clone(), images, deadline, named: 0 });
        let peers = self.choose(&key, rack.as_ref(), &request);
        let size = rack.as_ref().map_or(0, |rack| self.rack_size(rack, &request.images));
        self.answer(peers, size, rack.as_ref())
    }

    fn answer(&self, peers: Vec<PeerInfo>, rack_size: u32, rack: Option<&RackName>) -> TrackAnswer {
        TrackAnswer {
            peers,
            rack_size,
            rack_cap: self.caps.of_rack(rack),
            epoch: self.epoch,
            revoked: self.revoked.clone(),
            again_s: self.again_s(),
        }
    }

    fn rack_size(&self, rack: &RackName, images: &[TrackImage]) -> u32 {
        let sizes = images.iter().filter_map(|image| Some(self.swarms.get(&image.image)?.in_rack(rack).len()));
        sizes.max().map_or(0, |size| u32::try_from(size).unwrap_or(u32::MAX))
    }

    fn upsert(&mut self, mut member: Member) {
        if let Some(ix) = self.by_key.get(&member.key).copied() {
            if let Some(old) = self.take(ix) {
                member.named = old.named;
            }
            self.put(ix, member);
        } else if self.by_key.len() < MEMBERS_MAX {
            let ix = self.free.pop().unwrap_or_else(|| {
                self.members.push(None);
                Ix(u32::try_from(self.members.len() - 1).unwrap_or(u32::MAX))
            });
            self.put(ix, member);
        }
    }

    fn put(&mut self, ix: Ix, member: Member) {
        for image in &member.images {
            self.swarms.entry(image.image).or_default().insert(ix, member.rack.as_ref());
        }
        self.by_key.insert(member.key, ix);
        self.deadlines.insert((member.deadline, ix));
        if let Some(slot) = self.members.get_mut(ix.0 as usize) {
            *slot = Some(member);
        }
    }

    /// Takes a member out of every list; its index stays reserved.
    fn take(&mut self, ix: Ix) -> Option<Member> {
        let member = self.members.get_mut(ix.0 as usize)?.take()?;
        for image in &member.images {
            if let Some(swarm) = self.swarms.get_mut(&image.image) {
                swarm.remove(ix, member.rack.as_ref());
                if swarm.is_empty() {
                    self.swarms.remove(&image.image);
                }
            }
        }
        self.by_key.remove(&member.key);
        self.deadlines.remove(&(member.deadline, ix));
        Some(member)
    }

    fn forget(&mut self, key: &PublicKey) {
        if let Some(ix) = self.by_key.get(key).copied() {
            self.take(ix);
            self.free.push(ix);
        }
    }

    fn expire(&mut self, now: Mono) {
        while let Some((at, ix)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            if let Some(member) = self.take(ix) {
                self.output.push_back(Output::Expired(member.key));
            }
            self.free.push(ix);
        }
    }

    /// Peers for a member: three quarters from its rack, a quarter from elsewhere, the heads in addition.
    fn choose(&mut self, key: &PublicKey, rack: Option<&RackName>, request: &TrackRequest) -> Vec<PeerInfo> {
        let mut known: BTreeSet<PublicKey> = request.have.iter().copied().collect();
        known.insert(*key);
        let heads: Vec<PeerInfo> = self.heads.iter().filter(|head| !known.contains(&head.key)).cloned().collect();
        let want = usize::from(request.want.min(NEIGHBOURS_MAX)).min(PEERS_MAX.saturating_sub(heads.len()));
        let mut chosen = vec![];
        for own in &request.images {
            let Some(swarm) = self.swarms.get(&own.image) else { continue };
            let mut draw =
                Draw { members: &self.members, rng: &mut self.rng, own, known: &mut known, chosen: &mut chosen };
            match rack {
                Some(rack) => {
                    let near = want - want / 4;
                    draw.from(swarm.in_rack(rack), near, |_| true);
                    draw.from(swarm.all(), want, |member| member.rack.as_ref() != Some(rack));
                    // A small rack, or the only one: whoever is left.
                    draw.from(swarm.all(), want, |_| true);
                }
                None => draw.from(swarm.all(), want, |_| true),
            }
        }
        let mut peers = vec![];
        for ix in chosen {
            if let Some(Some(member)) = self.members.get_mut(ix.0 as usize) {
                member.named = member.named.saturating_add(1);
                let Member { key, addrs, rack, .. } = member;
                peers.push(PeerInfo { key: *key, addrs: addrs.clone(), rack: rack.clone(), head: false });
            }
        }
        peers.extend(heads);
        peers
    }
}

/// A draw of peers for one member and one image.
struct Draw<'a> {
    members: &'a [Option<Member>],
    rng: &'a mut ChaCha8Rng,
    own: &'a TrackImage,
    known: &'a mut BTreeSet<PublicKey>,
    chosen: &'a mut Vec<Ix>,
}

impl Draw<'_> {
    /// Draws from `list` until `goal` are chosen in all. Of two drawn the one that fewer know is taken, so that nobody is
    /// left alone and nobody is overrun. The work is bounded by the goal and the asker's own list, not by the swarm.
    fn from(&mut self, list: &[Ix], goal: usize, fits: impl Fn(&Member) -> bool) {
        let missing = goal.saturating_sub(self.chosen.len());
        if missing == 0 || list.is_empty() {
            return;
        }
        let reach = 4 * missing + self.known.len() + 16;
        let start = self.below(list.len());
        if list.len() <= reach {
            let (tail, head) = list.split_at(start);
            for ix in head.iter().chain(tail) {
                self.offer(*ix, goal, &fits);
            }
            return;
        }
        for _ in 0..reach {
            let pair = [self.below(list.len()), self.below(list.len())];
            let pick = pair.into_iter().filter_map(|n| list.get(n)).min_by_key(|ix| self.member(**ix).map(|m| m.named));
            if let Some(ix) = pick.copied() {
                self.offer(ix, goal, &fits);
            }
            if self.chosen.len() >= goal {
                return;
            }
        }
    }

    fn member(&self, ix: Ix) -> Option<&Member> {
        self.members.get(ix.0 as usize)?.as_ref()
    }

    fn offer(&mut self, ix: Ix, goal: usize, fits: &impl Fn(&Member) -> bool) {
        let Some(member) = self.members.get(ix.0 as usize).and_then(Option::as_ref) else { return };
        let complete = |image: &TrackImage| image.held >= image.total;
        let idle =
            complete(self.own) && member.images.iter().any(|image| image.image == self.own.image && complete(image));
        if self.chosen.len() < goal && !idle && fits(member) && self.known.insert(member.key) {
            self.chosen.push(ix);
        }
    }

    /// A number below `bound`, evenly enough: the bias of a 64-bit remainder is below 2^-40 here.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound.max(1) as u64).unwrap_or_default()
    }
}

/// Where a member's data plane is dialled: what it says, or else where the head sees it.
fn addresses(data: &DataAddrs, seen: IpAddr) -> Vec<SocketAddr> {
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast() && (!ip.is_loopback() || seen.is_loopback());
    let mut addrs: Vec<SocketAddr> =
        data.ips.iter().copied().filter(usable).take(PEER_ADDRS_MAX).map(|ip| SocketAddr::new(ip, data.port)).collect();
    if addrs.is_empty() {
        addrs.push(SocketAddr::new(seen, data.port));
    }
    addrs
}
