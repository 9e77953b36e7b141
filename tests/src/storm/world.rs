//! The head, the queue of events, and what came of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::Serialize;
use wulfpack_head::boot::{Nbps, Waves};
use wulfpack_head::dhcp;
use wulfpack_head::tftp;
use wulfpack_shared::id::Mac;
use wulfpack_shared::time::{Mono, Now};

use super::client::{Act, Client, Step};
use super::link::Wire;
use super::loads::Loads;
use super::nodes::{address, mac, nodes};

/// What one packet or script costs the head's processor, and what its sockets hold meanwhile: more than was measured, and less than
/// the kernel gives.
const DHCP_COST: Duration = Duration::from_micros(50);
const TFTP_COST: Duration = Duration::from_micros(10);
const SCRIPT_COST: Duration = Duration::from_micros(200);
const SOCKET_QUEUE: u32 = 256;
/// From the end of the boot program's download to iPXE's first packet, and a pause at a waiting script.
const IPXE_START: Duration = Duration::from_secs(2);
const PAUSE_S: u64 = 10;

/// What happens.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Machines that power on within one second.
    pub machines: u32,
    /// Rate of the head's link in bits per second.
    pub rate: f64,
    /// Bytes of the boot program.
    pub nbp: u64,
    /// Bytes of kernel and archives.
    pub files: u64,
    /// Those of the agent among them, which always come from the head.
    pub agent: u64,
    /// Machines that load them at a time; 0: no limit.
    pub wave: usize,
    /// Whether nodes that are up give kernel and modules to the machines of their rack.
    pub neighbours: bool,
    /// Machines of a rack.
    pub rack: u32,
    /// Seconds from a node's kernel until it is up.
    pub up_s: u64,
    /// Of the random numbers.
    pub seed: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Machines that start their kernel.
    pub booted: u32,
    /// Machines that ran out of retries.
    pub lost: u32,
    /// Retries of all machines.
    pub retries: u32,
    /// Packets that the head's queues had no room for.
    pub dropped: u64,
    /// Seconds from the first power-on until the first, the median and the last machine starts its kernel.
    pub first_s: f64,
    /// See there.
    pub median_s: f64,
    /// See there.
    pub last_s: f64,
    /// Bytes of kernels and archives that left the head.
    pub head_bytes: u64,
}

#[derive(Debug)]
enum Event {
    PowerOn(usize),
    /// A machine's patience ends, if it has heard nothing since.
    Timer(usize, u32),
    DhcpIn(Vec<u8>),
    DhcpOut(usize, Vec<u8>),
    TftpIn(usize, Vec<u8>),
    TftpOut(usize, Vec<u8>),
    TftpTick,
    Script(usize),
    Ask(usize),
    /// One download may be complete, if none began or ended since.
    Downloads(u64),
}

/// A processor that takes one thing after the other.
#[derive(Debug, Default)]
struct Worker {
    free: Mono,
}

impl Worker {
    /// When it is done with what comes now; `None` if its socket is full.
    fn take(&mut self, now: Mono, cost: Duration) -> Option<Mono> {
        if self.free.since(now) > cost * SOCKET_QUEUE {
            return None;
        }
        self.free = self.free.max(now) + cost;
        Some(self.free)
    }
}

struct World {
    clients: Vec<Client>,
    by_mac: BTreeMap<Mac, usize>,
    by_ip: BTreeMap<IpAddr, usize>,
    queue: BinaryHeap<Reverse<(Mono, u64)>>,
    events: BTreeMap<u64, Event>,
    made: u64,
    rng: ChaCha8Rng,
    dhcp: dhcp::Machine,
    tftp: tftp::Machine,
    waves: Waves,
    nbp: Bytes,
    wire: Wire,
    downloads: Loads,
    workers: [Worker; 3],
    dropped: u64,
    started: Vec<Mono>,
    tick: Option<Mono>,
    round: u64,
}

/// Runs until every machine has started its kernel or given up.
pub fn run(storm: Storm) -> Outcome {
    let mut world = World::new(storm);
    world.go();
    world.outcome()
}

impl World {
    fn new(storm: Storm) -> Self {
        let link = dhcp::Link {
            name: "eth0".into(),
            index: 2,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: "10.42.0.1/16".parse().into_iter().collect(),
            addresses6: vec![],
        };
        let mut dhcp = dhcp::Machine::new(dhcp::Settings {
            links: vec![link],
            http_port: 9872,
            lease: Duration::from_secs(3600),
            domain: None,
            dns: vec![],
            nbps: Nbps::default(),
            override_other: true,
            own_heads: vec![],
            seed: 1,
            policy: dhcp::Policy::default(),
        });
        dhcp.handle_input(Now::mono(Mono::ZERO), dhcp::Input::Nodes(nodes(storm.machines)));
        let clients: Vec<Client> =
            (0..storm.machines).map(|number| Client::new(mac(number), address(number))).collect();
        let rate = storm.rate / 8.0;
        let mut world = Self {
            by_mac: clients.iter().enumerate().map(|(index, client)| (client.mac, index)).collect(),
            by_ip: (0..storm.machines).map(|number| (address(number).into(), number as usize)).collect(),
            clients,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            made: 0,
            rng: ChaCha8Rng::seed_from_u64(storm.seed),
            dhcp,
            tftp: tftp::Machine::new(1468),
            waves: Waves::new(storm.wave),
            nbp: vec![0x5a; storm.nbp as usize].into(),
            wire: Wire::new(rate),
            downloads: Loads::new(storm),
            workers: Default::default(),
            dropped: 0,
            started: vec![],
            tick: None,
            round: 0,
        };
        for who in 0..world.clients.len() {
            let at = Mono(u64::from(world.rng.next_u32()) * 1_000_000_000 / u64::from(u32::MAX));
            world.push(at, Event::PowerOn(who));
        }
        world
    }

    fn push(&mut self, at: Mono, event: Event) {
        self.made += 1;
        self.queue.push(Reverse((at, self.made)));
        self.events.insert(self.made, event);
    }

    fn go(&mut self) {
        while let Some(Reverse((now, number))) = self.queue.pop() {
            let Some(event) = self.events.remove(&number) else { continue };
            self.handle(now, event);
        }
    }

    fn handle(&mut self, now: Mono, event: Event) {
        match event {
            Event::PowerOn(who) => self.speak(now, who),
            Event::Timer(who, epoch) => self.timer(now, who, epoch),
            Event::DhcpIn(bytes) => {
                let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
                let packet = dhcp::Input::Packet { link: 0, port: dhcp::Port::Server, from, bytes: &bytes };
                self.dhcp.handle_input(Now::mono(now), packet);
                self.drain_dhcp(now);
            }
            Event::TftpIn(who, bytes) => {
                let from = SocketAddr::new(address(who as u32).into(), 2000);
                self.tftp.handle_input(now, tftp::Input::Packet { from, bytes: &bytes });
                self.drain_tftp(now);
            }
            Event::TftpTick => {
                self.tick = self.tick.filter(|tick| *tick > now);
                self.tftp.handle_input(now, tftp::Input::Tick);
                self.drain_tftp(now);
            }
            Event::DhcpOut(who, bytes) => {
                let act = self.clients.get_mut(who).and_then(|client| client.hear_dhcp(&bytes));
                self.heard(now, who, act);
            }
            Event::TftpOut(who, bytes) => {
                let act = self.clients.get_mut(who).and_then(|client| client.hear_tftp(&bytes));
                self.heard(now, who, act);
            }
            Event::Ask(who) => self.speak(now, who),
            Event::Script(who) => self.script(now, who),
            Event::Downloads(round) if round != self.round => {}
            Event::Downloads(_) => {
                for who in self.downloads.complete(now) {
                    if let Some(client) = self.clients.get_mut(who) {
                        client.step = Step::Done;
                        self.waves.done(client.mac);
                        self.started.push(now);
                    }
                }
                self.follow_downloads();
            }
        }
    }

    /// A machine says what it says at its step, and waits.
    fn speak(&mut self, now: Mono, who: usize) {
        let Some(act) = self.clients.get(who).map(Client::speak) else { return };
        self.act(now, who, act);
        self.wait(now, who);
    }

    fn wait(&mut self, now: Mono, who: usize) {
        let Some(client) = self.clients.get_mut(who) else { return };
        client.epoch += 1;
        let epoch = client.epoch;
        match client.patience() {
            Some(time) if !matches!(client.step, Step::Script | Step::Files | Step::Done) => {
                self.push(now + time, Event::Timer(who, epoch));
            }
            Some(_) => {}
            None => client.step = Step::Lost,
        }
    }

    fn heard(&mut self, now: Mono, who: usize, act: Option<Act>) {
        let Some(act) = act else { return };
        let starts = matches!(act, Act::Tftp(_))
            && self.clients.get(who).is_some_and(|client| client.step == Step::Dhcp { ipxe: true, server: None });
        self.act(now, who, act);
        if starts {
            // The boot program runs; until then nothing is waited for.
            self.push(now + IPXE_START, Event::Ask(who));
            if let Some(client) = self.clients.get_mut(who) {
                client.epoch += 1;
            }
        } else {
            self.wait(now, who);
        }
    }

    fn timer(&mut self, now: Mono, who: usize, epoch: u32) {
        let Some(client) = self.clients.get_mut(who).filter(|client| client.epoch == epoch) else { return };
        client.tries += 1;
        client.retries += 1;
        if client.patience().is_none() {
            client.step = Step::Lost;
        } else {
            self.speak(now, who);
        }
    }

    /// A machine's packet on its way to the head.
    fn act(&mut self, now: Mono, who: usize, act: Act) {
        let arrives = now + Duration::from_micros(100);
        let (worker, cost) = match &act {
            Act::Dhcp(_) => (0, DHCP_COST),
            Act::Tftp(_) => (1, TFTP_COST),
            Act::AskScript => (2, SCRIPT_COST),
            Act::Nothing => return,
        };
        // What TCP carries is not lost: a full backlog is asked again.
        let Some(at) = self.workers.get_mut(worker).and_then(|worker| worker.take(arrives, cost)) else {
            if act == Act::AskScript {
                self.push(now + Duration::from_secs(1), Event::Ask(who));
            } else {
                self.dropped += 1;
            }
            return;
        };
        self.push(
            at,
            match act {
                Act::Dhcp(bytes) => Event::DhcpIn(bytes),
                Act::Tftp(bytes) => Event::TftpIn(who, bytes),
                Act::AskScript | Act::Nothing => Event::Script(who),
            },
        );
    }

    fn script(&mut self, now: Mono, who: usize) {
        let Some(client) = self.clients.get_mut(who).filter(|client| client.step == Step::Script) else { return };
        if self.waves.admit(now, client.mac).is_ok() {
            client.step = Step::Files;
            self.downloads.begin(now, who);
            self.follow_downloads();
        } else {
            let pause = Duration::from_secs(PAUSE_S + u64::from(client.mac.0[5]) % PAUSE_S);
            self.push(now + pause, Event::Ask(who));
        }
    }

    fn follow_downloads(&mut self) {
        self.round += 1;
        if let Some(at) = self.downloads.next() {
            self.push(at, Event::Downloads(self.round));
        }
    }

    fn drain_dhcp(&mut self, now: Mono) {
        while let Some(output) = self.dhcp.poll_output() {
            let dhcp::Output::Send { bytes, .. } = output else { continue };
            let chaddr = bytes.get(28..34).and_then(|mac| mac.try_into().ok()).map(Mac);
            let Some(who) = chaddr.and_then(|mac| self.by_mac.get(&mac).copied()) else { continue };
            match self.wire.send(now, bytes.len()) {
                Some(at) => self.push(at, Event::DhcpOut(who, bytes)),
                None => self.dropped += 1,
            }
        }
    }

    fn drain_tftp(&mut self, now: Mono) {
        while let Some(output) = self.tftp.poll_output() {
            match output {
                tftp::Output::Send { to, bytes } => {
                    let Some(who) = self.by_ip.get(&to.ip()).copied() else { continue };
                    match self.wire.send(now, bytes.len()) {
                        Some(at) => self.push(at, Event::TftpOut(who, bytes)),
                        None => self.dropped += 1,
                    }
                }
                tftp::Output::Open { id, .. } => {
                    let file = Ok(self.nbp.clone());
                    self.tftp.handle_input(now, tftp::Input::Opened { id, file });
                }
                tftp::Output::Ended { .. } => {}
            }
        }
        if let Some((at, _)) = self.tftp.poll_timeout() {
            let at = at.max(now);
            if self.tick.is_none_or(|tick| at < tick) {
                self.tick = Some(at);
                self.push(at, Event::TftpTick);
            }
        }
    }

    fn outcome(self) -> Outcome {
        let second = |index: usize| self.started.get(index).map_or(f64::NAN, |at| at.0 as f64 / 1e9);
        let lost = self.clients.iter().filter(|client| client.step != Step::Done).count();
        Outcome {
            booted: self.started.len() as u32,
            lost: lost as u32,
            retries: self.clients.iter().map(|client| client.retries).sum(),
            dropped: self.dropped + self.wire.dropped,
            first_s: second(0),
            median_s: second(self.started.len() / 2),
            last_s: second(self.started.len().saturating_sub(1)),
            head_bytes: self.downloads.head_bytes,
        }
    }
}
