//! The head's own tracker, as the simulator asks it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rand_chacha::ChaCha8Rng;
use wulfpack_shared::id::{PublicKey, RackName, VersionId};
use wulfpack_shared::sim::Tracker;
use wulfpack_shared::swarm::{Candidate, PeerIx, PeerKind};
use wulfpack_shared::time::{Mono, Now};
use wulfpack_shared::wire::{DataAddrs, PeerInfo, TrackImage, TrackRequest};

use crate::tracker::{AskId, Input, Output, Tracker as Machine};

const PORT: u16 = 9871;

/// The real tracker machine. Members are told apart by keys that hold their index.
#[derive(Debug)]
pub struct HeadTracker {
    machine: Machine,
    heads: u32,
    rack_cap: u32,
    asked: u64,
    rack: (u32, u32),
}

impl HeadTracker {
    /// The tracker of so many heads. `rack_cap`: inbound cross-rack flows of a rack, 0 for no limit.
    pub fn new(heads: u32, rack_cap: u32) -> Self {
        Self { machine: machine(heads, rack_cap), heads, rack_cap, asked: 0, rack: (0, 0) }
    }
}

fn key(peer: PeerIx) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&peer.0.to_le_bytes());
    PublicKey(bytes)
}

fn index(key: &PublicKey) -> PeerIx {
    let [a, b, c, d, ..] = key.0;
    PeerIx(u32::from_le_bytes([a, b, c, d]))
}

fn rack_name(rack: u16) -> Option<RackName> {
    format!("rack{rack}").parse().ok()
}

fn machine(heads: u32, rack_cap: u32) -> Machine {
    let mut machine = Machine::new([7; 32], rack_cap);
    let head = |index: u32| {
        let addrs = vec![SocketAddr::from((Ipv4Addr::from(0x0aff_0001 + index), PORT))];
        PeerInfo { key: key(PeerIx(index)), addrs, rack: None, head: true }
    };
    machine.handle_input(Now::default(), Input::Heads((0..heads).map(head).collect()));
    machine
}

impl Default for HeadTracker {
    fn default() -> Self {
        Self::new(1, 0)
    }
}

impl Tracker for HeadTracker {
    fn ask(&mut self, now: Mono, who: PeerIx, rack: u16, want: u16, _rng: &mut ChaCha8Rng) -> Vec<Candidate> {
        self.asked += 1;
        let [_, a, b, c] = who.0.to_be_bytes();
        let images = vec![TrackImage { image: VersionId([1; 32]), held: 0, total: 1 }];
        let data = DataAddrs { port: PORT, ips: vec![] };
        let request = TrackRequest { data, images, want, have: vec![], leaving: false };
        let (seen, rack) = (IpAddr::from([10, a, b, c]), rack_name(rack));
        let (ask, key) = (AskId(self.asked), key(who));
        self.machine.handle_input(Now::mono(now), Input::Track { ask, key, rack: rack.clone(), seen, request });
        let mut named = vec![];
        while let Some(output) = self.machine.poll_output() {
            if let Output::Answer { answer, .. } = output {
                self.rack = (answer.rack_size, answer.rack_cap);
                named = answer.peers;
            }
        }
        let candidate = |peer: PeerInfo| Candidate {
            peer: index(&peer.key),
            kind: if peer.head { PeerKind::Head } else { PeerKind::Node },
            same_rack: peer.rack.is_none() || peer.rack == rack,
        };
        named.into_iter().map(candidate).collect()
    }

    fn rack(&self) -> (u32, u32) {
        self.rack
    }

    fn restarted(&mut self) {
        self.machine = machine(self.heads, self.rack_cap);
    }
}
