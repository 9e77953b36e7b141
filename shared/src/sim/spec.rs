//! What is simulated: the image, the members, the links, and what goes wrong.

use core::time::Duration;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::image::{ENTRY_LEN, Units};
use crate::limits::{CHUNK_AVG, CHUNK_MAX, CHUNK_MIN, PAGE_LEN};
use crate::swarm::Config;
use crate::time::Mono;

/// An image: its layout and the lengths of its chunks.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// The layout.
    pub units: Units,
    /// Bytes of each chunk.
    pub lens: Arc<[u32]>,
}

impl ImageSpec {
    /// An image of `bytes`, cut into chunks as FastCDC does (2020, normalization 1): a cut is half as likely as the average
    /// asks for before it, and twice as likely after it, between 64 KiB and 1 MiB.
    pub fn random(bytes: u64, seed: u64) -> Self {
        const STEP: u32 = 1024;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut lens, mut left) = (vec![], bytes);
        while left > 0 {
            let mut len = CHUNK_MIN;
            loop {
                let odds = if len < CHUNK_AVG { CHUNK_AVG * 2 } else { CHUNK_AVG / 2 };
                let step = u64::from(rng.next_u32()) * u64::from(odds / STEP);
                if len + STEP >= CHUNK_MAX || step >> 32 == 0 {
                    break;
                }
                len += STEP;
            }
            let len = len + (rng.next_u32() % STEP);
            let len = u32::try_from(left).map_or(len, |left| len.min(left));
            lens.push(len);
            left -= u64::from(len);
        }
        Self::of(bytes, lens)
    }

    /// An image of `bytes`, cut into equal chunks.
    pub fn equal(bytes: u64, chunk: u32) -> Self {
        let chunk = chunk.max(1);
        let mut lens = vec![chunk; usize::try_from(bytes / u64::from(chunk)).unwrap_or(0)];
        let rest = (bytes % u64::from(chunk)) as u32;
        lens.extend((rest > 0).then_some(rest));
        Self::of(bytes, lens)
    }

    fn of(bytes: u64, lens: Vec<u32>) -> Self {
        let chunks = u32::try_from(lens.len()).unwrap_or(u32::MAX);
        let table_len = u64::from(chunks) * ENTRY_LEN as u64;
        let pages = u32::try_from(table_len.div_ceil(u64::from(PAGE_LEN))).unwrap_or(u32::MAX);
        Self { units: Units { pages, chunks, table_len, blob_len: bytes }, lens: lens.into() }
    }

    /// Bytes of a unit.
    pub fn len_of(&self, unit: u32) -> u32 {
        match self.units.chunk(unit) {
            None => self.units.page_len(unit),
            Some(chunk) => self.lens.get(chunk as usize).copied().unwrap_or(0),
        }
    }
}

/// One member. The heads come first.
#[derive(Clone, Copy, Debug)]
pub struct MemberSpec {
    /// Its engine's settings.
    pub config: Config,
    /// Bytes a second that its link carries each way.
    pub rate: u64,
    /// Bytes a second that its processor can send and receive together; 0 for no limit.
    pub cpu: u64,
    /// Its rack.
    pub rack: u16,
    /// When it starts to join.
    pub start: Mono,
    /// A simulation is not over before it is complete.
    pub awaited: bool,
}

/// What is the same for all links.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// One way.
    pub latency: Duration,
    /// Added to each message by chance, from nothing to this; messages of one connection stay in order.
    pub jitter: Duration,
    /// Of one end, for one handshake.
    pub handshake_cpu: Duration,
    /// Until a member notices that a peer died without a word.
    pub death_noticed: Duration,
    /// Messages in a million that have to be sent again.
    pub loss_ppm: u32,
    /// Rates by progressive filling, computed anew whenever a transfer begins or ends, instead of piece by piece: exact, and
    /// only for small simulations. Faults of links and processors are not modelled then.
    pub exact: bool,
}

impl Default for Links {
    /// 100 µs one way, 0.5 ms of CPU at each end of a handshake, 2 s until a silent peer is given up.
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(100),
            jitter: Duration::ZERO,
            handshake_cpu: Duration::from_micros(500),
            death_noticed: Duration::from_secs(2),
            loss_ppm: 0,
            exact: false,
        }
    }
}

/// A whole simulation.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The image that everybody fetches.
    pub image: ImageSpec,
    /// The heads, then the nodes.
    pub members: Vec<MemberSpec>,
    /// How many heads.
    pub heads: u32,
    /// Bytes a second that a healthy node's link carries: what the bound is taken for.
    pub rate: u64,
    /// Bytes a second that each rack's uplink carries each way; empty if nothing but the members' own links is narrow. A
    /// rack beyond the end (such as a head's, [`NO_RACK`]) is connected to the core itself.
    pub rack_rates: Vec<u64>,
    /// The network.
    pub links: Links,
    /// Of everything random.
    pub seed: u64,
}

/// The rack of a member that is connected to the core of the network itself.
pub const NO_RACK: u16 = u16::MAX;

impl Spec {
    /// `nodes` nodes and a head on equal links of `rate` bytes a second, joining at once (2 ms apart on average).
    pub fn equal(nodes: u32, rate: u64, bytes: u64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let head = MemberSpec { config: Config::head(), rate, cpu: 0, rack: 0, start: Mono::ZERO, awaited: true };
        let node = |_| {
            let start = Mono(u64::from(rng.next_u32()) % 4_000_000);
            MemberSpec { config: Config::node(), start, ..head }
        };
        let members = core::iter::once(head).chain((0..nodes).map(node)).collect();
        let (image, links, rack_rates) = (ImageSpec::random(bytes, seed), Links::default(), vec![]);
        Self { image, members, heads: 1, rate, rack_rates, links, seed }
    }

    /// Puts the nodes into `racks` racks, evenly, whose uplinks carry the `oversubscription`th part of what their nodes' links
    /// do; the heads are connected to the core.
    pub fn in_racks(mut self, racks: u16, oversubscription: f64) -> Self {
        let (heads, racks) = (self.heads as usize, racks.max(1));
        let mut sums = vec![0u64; usize::from(racks)];
        for (node, member) in self.members.iter_mut().skip(heads).enumerate() {
            member.rack = (node % usize::from(racks)) as u16;
            sums[usize::from(member.rack)] += self.rate;
        }
        self.members.iter_mut().take(heads).for_each(|head| head.rack = NO_RACK);
        self.rack_rates = sums.iter().map(|&sum| ((sum as f64 / oversubscription) as u64).max(1)).collect();
        self
    }

    /// How many nodes.
    pub fn nodes(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX).saturating_sub(self.heads)
    }

    /// Whether the member is a head.
    pub const fn is_head(&self, member: u32) -> bool {
        member < self.heads
    }

    /// Whether two members share a rack.
    pub fn same_rack(&self, one: u32, other: u32) -> bool {
        self.members[one as usize].rack == self.members[other as usize].rack
    }

    /// The bound T* = (F/C)(1 + floor(log2 N)/M) with M = ceil(F / 1 MiB), where C is a node's link, or what else every copy
    /// must pass: the heads' links together, the links of all for all copies (p2p.md, section 5).
    pub fn bound(&self) -> Duration {
        let (bytes, nodes) = (u128::from(self.image.units.blob_len), u128::from(self.nodes().max(1)));
        let rate_of =
            |members: &[MemberSpec]| members.iter().map(|member| u128::from(member.rate)).sum::<u128>().max(1);
        let heads = rate_of(&self.members[..self.heads as usize]);
        let fluid = [
            bytes * 1_000_000_000 / u128::from(self.rate.max(1)),
            bytes * 1_000_000_000 / heads,
            bytes * nodes * 1_000_000_000 / rate_of(&self.members),
        ];
        let fluid = fluid.into_iter().max().unwrap_or(0);
        let parts = bytes.div_ceil(1 << 20).max(1);
        let rounds = parts + u128::from(nodes.ilog2());
        Duration::from_nanos(u64::try_from(fluid * rounds / parts).unwrap_or(u64::MAX))
    }

    /// What one server with the heads' links needs to send every node a copy: max(N F / Us, F / C).
    pub fn single_server(&self) -> Duration {
        let bytes = u128::from(self.image.units.blob_len);
        let heads: u128 = self.members[..self.heads as usize].iter().map(|head| u128::from(head.rate)).sum();
        let all = bytes * u128::from(self.nodes()) * 1_000_000_000 / heads.max(1);
        Duration::from_nanos(
            u64::try_from(all.max(bytes * 1_000_000_000 / u128::from(self.rate.max(1)))).unwrap_or(u64::MAX),
        )
    }
}
