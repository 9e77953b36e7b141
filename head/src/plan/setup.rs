//! The cluster that is asked about.

use core::str::FromStr;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use wulfpack_shared::limits::SLOTS;
use wulfpack_shared::sim::{ImageSpec, Links, MemberSpec, NO_RACK, Spec};
use wulfpack_shared::swarm::Config;
use wulfpack_shared::time::Mono;

use super::Fail;
use super::units::{Rate, Share, Size};

/// Machines that are switched on together answer within this time.
const SWITCHED_ON: u64 = 4_000_000;

/// A share of the nodes whose links carry a share of what the others' do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// How many.
    pub nodes: Share,
    /// How fast.
    pub speed: Share,
}

impl FromStr for Slow {
    type Err = String;

    /// Reads `2%@1%`: two of a hundred nodes at a hundredth of the speed.
    fn from_str(text: &str) -> Result<Self, String> {
        let (nodes, speed) = text.split_once('@').ok_or_else(|| format!("{text:?}: write it like 2%@1%"))?;
        let share = |text: &str| text.parse::<Share>().map_err(|error| error.to_string());
        let (nodes, speed) = (share(nodes)?, share(speed)?);
        if speed.0 == 0 || speed.0 > 1_000_000 || nodes.0 > 1_000_000 {
            return Err(format!("{text:?}: both are shares, from above 0% to 100%"));
        }
        Ok(Self { nodes, speed })
    }
}

/// A cluster, an image, and what goes wrong.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many nodes.
    pub nodes: u32,
    /// Bytes of the image.
    pub image: Size,
    /// Every chunk of this size; `None` for lengths as the chunker cuts.
    pub chunk: Option<Size>,
    /// Rate of a node's link, each way.
    pub nic: Rate,
    /// Rate of each head's link.
    pub head_nic: Rate,
    /// How many heads.
    pub heads: u32,
    /// Racks, of equal size; 0 where only the members' own links are narrow.
    pub racks: u16,
    /// What a rack's nodes' links carry together over what its uplink carries.
    pub oversubscription: f64,
    /// One way.
    pub latency: Duration,
    /// Nodes are switched on evenly over this time.
    pub stagger: Duration,
    /// What a node's processor sends and receives together; `None` for no limit.
    pub cpu: Option<Rate>,
    /// Nodes with slow links.
    pub slow: Option<Slow>,
    /// What goes wrong.
    pub fail: Vec<Fail>,
    /// Until a silent peer is given up.
    pub noticed: Duration,
    /// Bytes of kernel and initramfs, which leave the head once for each node.
    pub boot: Size,
    /// Of everything random.
    pub seed: u64,
}

impl Setup {
    /// Until a silent peer is given up: what the data plane is tuned to (`net/endpoint/tuning.rs`).
    pub const NOTICED: Duration = Duration::from_secs(10);

    /// The time an image takes over a node's link.
    pub fn transfer(&self) -> Duration {
        let nanos = u128::from(self.image.0) * 1_000_000_000 / u128::from(self.nic.bytes());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Cross-rack flows into a rack that its uplink bears: four for each node's link that it is worth.
    pub fn rack_cap(&self) -> u32 {
        if self.racks == 0 {
            return 0;
        }
        let nodes = f64::from(self.nodes) / f64::from(self.racks);
        (4.0 * nodes / self.oversubscription).ceil().max(2.0) as u32
    }

    /// What is simulated.
    pub fn spec(&self) -> Spec {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x5eed);
        let rate = self.nic.bytes();
        let links = self.head_nic.bytes().div_ceil(rate).max(1);
        let slots_up = u8::try_from(links.saturating_mul(u64::from(SLOTS))).unwrap_or(u8::MAX);
        let head = MemberSpec {
            config: Config { slots_up, ..Config::head() },
            rate: self.head_nic.bytes(),
            cpu: 0,
            rack: NO_RACK,
            start: Mono::ZERO,
            awaited: true,
        };
        let cpu = self.cpu.map_or(0, Rate::bytes);
        let mut members = vec![head; self.heads as usize];
        let over = u64::try_from(self.stagger.as_nanos()).unwrap_or(u64::MAX);
        for node in 0..self.nodes {
            let turn = u128::from(over) * u128::from(node) / u128::from(self.nodes);
            let start = Mono(u64::try_from(turn).unwrap_or(0) + u64::from(rng.next_u32()) % SWITCHED_ON);
            members.push(MemberSpec { config: Config::node(), rate, cpu, rack: 0, start, awaited: true });
        }
        if let Some(Slow { nodes, speed }) = self.slow {
            for node in pick(&mut rng, self.nodes, nodes) {
                let member = &mut members[(self.heads + node) as usize];
                (member.rate, member.awaited) = (speed.of(rate).max(1), false);
            }
        }
        let image = match self.chunk {
            Some(chunk) => ImageSpec::equal(self.image.0, u32::try_from(chunk.0).unwrap_or(u32::MAX)),
            None => ImageSpec::random(self.image.0, self.seed),
        };
        let links = Links { latency: self.latency, death_noticed: self.noticed, ..Links::default() };
        let spec = Spec { image, members, heads: self.heads, rate, rack_rates: vec![], links, seed: self.seed };
        if self.racks > 0 { spec.in_racks(self.racks, self.oversubscription) } else { spec }
    }
}

/// A share of so many nodes, drawn.
pub(super) fn pick(rng: &mut ChaCha8Rng, nodes: u32, share: Share) -> Vec<u32> {
    let mut all: Vec<u32> = (0..nodes).collect();
    let wanted = share.of(u64::from(nodes)).min(u64::from(nodes)) as usize;
    for index in 0..wanted {
        let other = index + ((u64::from(rng.next_u32()) * (all.len() - index) as u64) >> 32) as usize;
        all.swap(index, other);
    }
    all.truncate(wanted);
    all
}
