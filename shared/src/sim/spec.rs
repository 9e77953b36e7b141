//! What is simulated: the image, the members, the links, and what goes wrong.

use core::time::Duration;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::image::{ENTRY_LEN, Units};
use crate::limits::{CHUNK_AVG, CHUNK_MIN, PAGE_LEN};
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
    /// An image of `bytes`, cut into chunks of random length between 64 and 448 KiB, 256 KiB on average.
    pub fn random(bytes: u64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut lens, mut left) = (vec![], bytes);
        while left > 0 {
            let len = CHUNK_MIN + rng.next_u32() % (2 * (CHUNK_AVG - CHUNK_MIN));
            let len = u32::try_from(left).map_or(len, |left| len.min(left));
            lens.push(len);
            left -= u64::from(len);
        }
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

/// One member. The first is the head.
#[derive(Clone, Copy, Debug)]
pub struct MemberSpec {
    /// Its engine's settings.
    pub config: Config,
    /// Bytes a second that its link carries each way.
    pub rate: u64,
    /// Its rack.
    pub rack: u16,
    /// When it starts to join.
    pub start: Mono,
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
}

impl Default for Links {
    /// 100 µs one way, 0.5 ms of CPU at each end of a handshake, 2 s until a silent peer is given up.
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(100),
            jitter: Duration::ZERO,
            handshake_cpu: Duration::from_micros(500),
            death_noticed: Duration::from_secs(2),
        }
    }
}

/// A whole simulation.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The image that everybody fetches.
    pub image: ImageSpec,
    /// The head, then the nodes.
    pub members: Vec<MemberSpec>,
    /// The network.
    pub links: Links,
    /// Of everything random.
    pub seed: u64,
}

impl Spec {
    /// `nodes` nodes and a head on equal links of `rate` bytes a second, joining at once (2 ms apart on average).
    pub fn equal(nodes: u32, rate: u64, bytes: u64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let head = MemberSpec { config: Config::head(), rate, rack: 0, start: Mono::ZERO };
        let node = |_| {
            let start = Mono(u64::from(rng.next_u32()) % 4_000_000);
            MemberSpec { config: Config::node(), rate, rack: 0, start }
        };
        let members = core::iter::once(head).chain((0..nodes).map(node)).collect();
        Self { image: ImageSpec::random(bytes, seed), members, links: Links::default(), seed }
    }

    /// The bound T* = (F/C)(1 + floor(log2 N)/M) with M = ceil(F / 1 MiB), for the slowest link.
    pub fn bound(&self) -> Duration {
        let bytes = u128::from(self.image.units.blob_len);
        let rate = u128::from(self.members.iter().map(|member| member.rate).min().unwrap_or(1).max(1));
        let parts = bytes.div_ceil(1 << 20).max(1);
        let rounds = parts + u128::from((self.members.len() as u64 - 1).max(1).ilog2());
        Duration::from_nanos(u64::try_from(bytes * 1_000_000_000 * rounds / parts / rate).unwrap_or(u64::MAX))
    }
}

/// Something that goes wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Dies without a word and forgets everything.
    Die,
    /// A dead member starts again, with nothing (a head: with everything).
    Return,
    /// Its link carries nothing for so many milliseconds.
    Stall(u32),
    /// Its link carries so many bytes a second from now on.
    Rate(u64),
    /// All units that it serves are corrupt from now on, or good again.
    Corrupt(bool),
    /// It says that it holds everything, though it does not.
    Boast,
}
