use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use wulfpack_shared::id::{PublicKey, RackName, VersionId};
use wulfpack_shared::limits::PEERS_MAX;
use wulfpack_shared::time::{Mono, Now};
use wulfpack_shared::wire::{DataAddrs, PeerInfo, TrackAnswer, TrackImage, TrackRequest};

use super::*;

const IMAGE: VersionId = VersionId([1; 32]);

fn key(n: u32) -> PublicKey {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey(key)
}

fn head() -> PeerInfo {
    PeerInfo { key: PublicKey([0xff; 32]), addrs: vec!["10.0.0.1:9871".parse().unwrap()], rack: None, head: true }
}

fn rack(n: u32) -> Option<RackName> {
    format!("r{n}").parse().ok()
}

fn request(held: u32) -> TrackRequest {
    let images = vec![TrackImage { image: IMAGE, held, total: 10 }];
    TrackRequest { data: DataAddrs { port: 9871, ips: vec![] }, images, want: 20, have: vec![], leaving: false }
}

struct Bench {
    tracker: Tracker,
    now: Mono,
    asks: u64,
}

impl Bench {
    fn new() -> Self {
        let mut tracker = Tracker::new([7; 32], 0);
        tracker.handle_input(Now::default(), Input::Heads(vec![head()]));
        Self { tracker, now: Mono::ZERO, asks: 0 }
    }

    fn track(&mut self, n: u32, rack: Option<RackName>, request: TrackRequest) -> TrackAnswer {
        self.asks += 1;
        let seen = IpAddr::from([10, 1, (n >> 8) as u8, n as u8]);
        let input = Input::Track { ask: AskId(self.asks), key: key(n), rack, seen, request };
        self.tracker.handle_input(Now::mono(self.now), input);
        match self.tracker.poll_output() {
            Some(Output::Answer { ask, answer }) if ask.0 == self.asks => answer,
            other => panic!("{other:?}"),
        }
    }

    fn expired(&mut self) -> Vec<PublicKey> {
        self.tracker.handle_input(Now::mono(self.now), Input::Tick);
        std::iter::from_fn(|| self.tracker.poll_output())
            .map(|output| match output {
                Output::Expired(key) => key,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn nodes(answer: &TrackAnswer) -> Vec<PublicKey> {
    answer.peers.iter().filter(|peer| !peer.head).map(|peer| peer.key).collect()
}

#[test]
fn the_first_gets_the_head_and_the_second_both() {
    let mut bench = Bench::new();
    assert_eq!(bench.track(1, None, request(0)).peers, [head()]);
    let answer = bench.track(2, None, request(0));
    assert_eq!(nodes(&answer), [key(1)]);
    assert_eq!(answer.peers[0].addrs, ["10.1.0.1:9871".parse().unwrap()]);
    assert!(answer.peers[1].head);
    let have = TrackRequest { have: vec![key(1), head().key], ..request(0) };
    assert_eq!(bench.track(2, None, have).peers, [], "what it has is not named again");
}

#[test]
fn a_quarter_comes_from_other_racks() {
    let mut bench = Bench::new();
    for n in 0..400 {
        bench.track(n, rack(n / 40), request(0));
    }
    for n in 0..400 {
        let answer = bench.track(n, rack(n / 40), request(0));
        let near = answer.peers.iter().filter(|peer| peer.rack == rack(n / 40)).count();
        assert_eq!((near, nodes(&answer).len(), answer.rack_size), (15, 20, 40));
    }
}

#[test]
fn everybody_is_known_to_some_and_nobody_to_all() {
    let mut bench = Bench::new();
    let mut known: BTreeMap<PublicKey, u32> = BTreeMap::new();
    // Those who came first were told of few, but the others of them; by the second round all are equal.
    for n in (0..2000).chain(0..2000) {
        for peer in nodes(&bench.track(n, None, request(0))) {
            *known.entry(peer).or_default() += 1;
        }
    }
    assert_eq!(known.len(), 2000);
    let (least, most) = (known.values().min().unwrap(), known.values().max().unwrap());
    assert!(*least >= 20 && *most <= 60, "known to {least} to {most}");
}

#[test]
fn two_complete_members_do_not_need_each_other() {
    let mut bench = Bench::new();
    bench.track(1, None, request(10));
    bench.track(2, None, request(3));
    assert_eq!(nodes(&bench.track(3, None, request(10))), [key(2)]);
    let mut other = request(0);
    other.images[0].image = VersionId([9; 32]);
    assert_eq!(nodes(&bench.track(4, None, other)), [], "another image is another swarm");
}

#[test]
fn the_silent_are_forgotten_and_the_leaving_at_once() {
    let mut bench = Bench::new();
    bench.track(1, None, request(0));
    bench.track(2, None, request(0));
    bench.track(3, None, request(0));
    bench.track(3, None, TrackRequest { leaving: true, ..request(0) });
    assert_eq!(bench.tracker.len(), 2);
    assert_eq!(bench.tracker.swarms().collect::<Vec<_>>(), [(IMAGE, 2)]);
    bench.now = bench.now + Duration::from_secs(20);
    bench.track(2, None, request(0));
    let (at, Reason::Expiry) = bench.tracker.poll_timeout().unwrap();
    bench.now = at;
    assert_eq!(bench.expired(), [key(1)]);
    assert_eq!(bench.expired(), []);
    assert_eq!(bench.tracker.swarms().collect::<Vec<_>>(), [(IMAGE, 1)]);
    assert_eq!(nodes(&bench.track(4, None, request(0))), [key(2)]);
}

#[test]
fn the_revoked_are_named_to_all_and_given_nobody() {
    let mut bench = Bench::new();
    bench.track(1, None, request(0));
    bench.tracker.handle_input(Now::default(), Input::Revoked { epoch: 4, keys: vec![key(1)] });
    let answer = bench.track(2, None, request(0));
    assert_eq!((nodes(&answer), answer.epoch, answer.revoked), (vec![], 4, vec![key(1)]));
    assert_eq!(bench.track(1, None, request(0)).peers, []);
    assert_eq!(bench.tracker.len(), 1);
}

#[test]
fn the_interval_grows_with_the_swarm() {
    let mut bench = Bench::new();
    assert_eq!(bench.track(0, None, request(0)).again_s, 5);
    for n in 1..4000 {
        bench.track(n, None, request(0));
    }
    assert_eq!(bench.track(0, None, request(0)).again_s, 20);
}

#[test]
fn an_address_that_nobody_can_dial_is_replaced_by_the_one_that_is_seen() {
    let mut bench = Bench::new();
    let ips = vec!["0.0.0.0".parse().unwrap(), "127.0.0.1".parse().unwrap(), "224.0.0.1".parse().unwrap()];
    bench.track(1, None, TrackRequest { data: DataAddrs { port: 5, ips }, ..request(0) });
    assert_eq!(bench.track(2, None, request(0)).peers[0].addrs, ["10.1.0.1:5".parse().unwrap()]);
}

proptest! {
    /// Whatever members do: an answer names nobody twice, not the asker, not whom it has, nobody who is gone.
    #[test]
    fn answers_are_sound(steps in prop::collection::vec((0u32..40, 0u32..4, 0u32..12, 0u16..80, any::<u8>()), 1..200)) {
        let mut bench = Bench::new();
        let mut alive = std::collections::BTreeSet::new();
        for (n, r, held, want, what) in steps {
            bench.now = bench.now + Duration::from_secs(u64::from(what % 8));
            for gone in bench.expired() {
                prop_assert!(alive.remove(&gone));
            }
            let have: Vec<_> = (0..u32::from(what % 5)).map(key).collect();
            let leaving = what % 16 == 3;
            let rack = (r > 0).then(|| rack(r)).flatten();
            let answer = bench.track(n, rack, TrackRequest { want, have: have.clone(), leaving, ..request(held) });
            if leaving { alive.remove(&key(n)); } else { alive.insert(key(n)); }
            prop_assert!(answer.peers.len() <= PEERS_MAX);
            let named = nodes(&answer);
            prop_assert!(named.len() <= usize::from(want));
            let unique: std::collections::BTreeSet<_> = named.iter().collect();
            prop_assert_eq!(unique.len(), named.len());
            for peer in named {
                prop_assert!(peer != key(n) && !have.contains(&peer) && alive.contains(&peer));
            }
            prop_assert_eq!(bench.tracker.len(), alive.len());
        }
    }

    #[test]
    fn equal_seeds_and_inputs_give_equal_answers(asks in prop::collection::vec((0u32..300, 0u32..5), 1..300)) {
        let (mut one, mut two) = (Bench::new(), Bench::new());
        for (n, r) in asks {
            prop_assert_eq!(one.track(n, rack(r), request(0)), two.track(n, rack(r), request(0)));
        }
    }
}
