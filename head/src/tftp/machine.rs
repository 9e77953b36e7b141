//! The server, pure: packets, opened files and time in; packets, files to open and ends of transfers out.
//!
//! A machine in its firmware gives up after a few seconds without an answer and starts over at DHCP, so that a transfer that has
//! begun must end: only so many run at a time, the others wait in the order in which they came, and large files leave room for
//! the small ones that everybody needs first.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use wulfpack_shared::time::Mono;

use super::packet::{Packet, ReadRequest, error, parse, refusal};
use super::sender::{Progress, Sender};

/// Most transfers that run at a time, and how many of them may be of large files.
const RUNNING_MAX: usize = 256;
const LARGE_MAX: usize = 192;
/// What is large: more than any boot program. Bytes.
const LARGE: usize = 8 * 1024 * 1024;
/// Most transfers that run or wait, of all machines and of one.
const TRANSFERS_MAX: usize = 16_384;
const TRANSFERS_OF_ONE_MAX: u32 = 4;
/// How long a request waits without being repeated until its sender counts as gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens.
#[derive(Debug)]
pub enum Input<'a> {
    /// A packet came in.
    Packet {
        /// Who sent it.
        from: SocketAddr,
        /// The UDP payload.
        bytes: &'a [u8],
    },
    /// A file that [`Output::Open`] asked for is there, or why not.
    Opened {
        /// Number of the request.
        id: u64,
        /// The file; an error code and a text.
        file: Result<Bytes, (u16, String)>,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a packet.
    Send {
        /// Where to.
        to: SocketAddr,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
    /// Get a file.
    Open {
        /// Number of the request.
        id: u64,
        /// Who asks.
        from: SocketAddr,
        /// For what.
        path: String,
    },
    /// A request has come to its end.
    Ended {
        /// Number of the request.
        id: u64,
        /// Bytes that the client has.
        bytes: u64,
        /// Whether it has all.
        whole: bool,
    },
}

/// What there is, for the log and for figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transfers that run.
    pub running: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Requests that were turned away since the start.
    pub refused: u64,
}

#[derive(Debug)]
struct Transfer {
    id: u64,
    request: ReadRequest,
    large: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Opening,
    Waiting { file: Bytes, heard: Mono },
    Running(Sender),
}

/// The server at one address.
#[derive(Debug)]
pub struct Machine {
    block_max: u16,
    transfers: BTreeMap<SocketAddr, Transfer>,
    by_id: BTreeMap<u64, SocketAddr>,
    of_one: BTreeMap<IpAddr, u32>,
    small: VecDeque<SocketAddr>,
    large: VecDeque<SocketAddr>,
    running: [usize; 2],
    timers: BTreeSet<(Mono, SocketAddr)>,
    next_id: u64,
    refused: u64,
    output: VecDeque<Output>,
}

impl Machine {
    /// A server whose blocks have at most `block_max` bytes.
    pub fn new(block_max: u16) -> Self {
        Self {
            block_max,
            transfers: BTreeMap::new(),
            by_id: BTreeMap::new(),
            of_one: BTreeMap::new(),
            small: VecDeque::new(),
            large: VecDeque::new(),
            running: [0; 2],
            timers: BTreeSet::new(),
            next_id: 0,
            refused: 0,
            output: VecDeque::new(),
        }
    }

    /// Takes one input; drain [`Self::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Mono, input: Input<'_>) {
        match input {
            Input::Packet { from, bytes } => match parse(bytes) {
                Some(Packet::Read(request)) => self.request(now, from, request),
                Some(Packet::Write) => self.refuse(from, error::ACCESS, "nothing is written here"),
                Some(Packet::Ack(number)) => {
                    self.step(now, from, |sender, packets| sender.acknowledge(now, number, packets))
                }
                Some(Packet::Error) => self.end(from, false),
                None if matches!(bytes, [0, 1, ..]) => self.refuse(from, error::ILLEGAL, "this is no request"),
                None => {}
            },
            Input::Opened { id, file } => self.opened(now, id, file),
            Input::Tick => self.tick(now),
        }
        self.admit(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When to call with [`Input::Tick`], and why.
    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        self.timers.first().map(|(at, _)| (*at, "send again"))
    }

    /// What there is.
    pub fn counters(&self) -> Counters {
        Counters {
            running: self.running.iter().sum(),
            waiting: self.small.len() + self.large.len(),
            refused: self.refused,
        }
    }

    fn refuse(&mut self, to: SocketAddr, code: u16, why: &str) {
        self.refused += 1;
        self.output.push_back(Output::Send { to, bytes: refusal(code, why) });
    }

    fn request(&mut self, now: Mono, from: SocketAddr, request: ReadRequest) {
        if let Some(known) = self.transfers.get_mut(&from) {
            if known.request == request {
                match &mut known.state {
                    State::Opening => return,
                    State::Waiting { heard, .. } => {
                        self.timers.remove(&(*heard + PATIENCE, from));
                        *heard = now;
                        self.timers.insert((now + PATIENCE, from));
                        return;
                    }
                    // The first answer was lost.
                    State::Running(sender) if sender.is_fresh() => {
                        return self.step(now, from, |sender, packets| {
                            sender.send(now, packets);
                            Progress::Going
                        });
                    }
                    State::Running(_) => {}
                }
            }
            self.end(from, false);
        }
        let of_one = self.of_one.get(&from.ip()).copied().unwrap_or(0);
        if of_one >= TRANSFERS_OF_ONE_MAX {
            return self.refuse(from, error::UNDEFINED, "too many transfers, try again");
        }
        if self.transfers.len() >= TRANSFERS_MAX {
            // No answer: the client asks again when others are done.
            self.refused += 1;
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.output.push_back(Output::Open { id, from, path: request.path.clone() });
        self.of_one.insert(from.ip(), of_one + 1);
        self.by_id.insert(id, from);
        self.transfers.insert(from, Transfer { id, request, large: false, state: State::Opening });
    }

    fn opened(&mut self, now: Mono, id: u64, file: Result<Bytes, (u16, String)>) {
        let Some(from) = self.by_id.get(&id).copied() else { return };
        let file = match file {
            Ok(file) => file,
            Err((code, why)) => {
                self.refuse(from, code, &why);
                return self.end(from, false);
            }
        };
        let Some(transfer) = self.transfers.get_mut(&from) else { return };
        transfer.large = file.len() > LARGE;
        let queue = if transfer.large { &mut self.large } else { &mut self.small };
        queue.push_back(from);
        transfer.state = State::Waiting { file, heard: now };
        self.timers.insert((now + PATIENCE, from));
    }

    /// Lets those who wait begin, as far as there is room.
    fn admit(&mut self, now: Mono) {
        while self.running.iter().sum::<usize>() < RUNNING_MAX {
            let room = self.running[1] < LARGE_MAX;
            let next = self.small.pop_front().or_else(|| if room { self.large.pop_front() } else { None });
            let Some(from) = next else { return };
            let Some(transfer) = self.transfers.get_mut(&from) else { continue };
            let State::Waiting { file, heard } = &transfer.state else { continue };
            self.timers.remove(&(*heard + PATIENCE, from));
            let terms = transfer.request.terms(self.block_max);
            let oack = transfer.request.oack(terms, file.len() as u64);
            transfer.state = State::Running(Sender::new(file.clone(), terms, oack));
            self.running[usize::from(transfer.large)] += 1;
            self.step(now, from, |sender, packets| {
                sender.send(now, packets);
                Progress::Going
            });
        }
    }

    /// Lets a running transfer do something.
    fn step(&mut self, now: Mono, from: SocketAddr, act: impl FnOnce(&mut Sender, &mut Vec<Vec<u8>>) -> Progress) {
        let Some(Transfer { state: State::Running(sender), .. }) = self.transfers.get_mut(&from) else { return };
        let (before, mut packets) = (sender.deadline(), vec![]);
        let progress = act(sender, &mut packets);
        let deadline = sender.deadline();
        if before != deadline {
            self.timers.remove(&(before, from));
        }
        self.timers.insert((deadline, from));
        self.output.extend(packets.into_iter().map(|bytes| Output::Send { to: from, bytes }));
        match progress {
            Progress::Going => {}
            Progress::Done => self.end(from, true),
            Progress::Lost => {
                tracing::debug!(%from, ?now, "TFTP client gone");
                self.end(from, false);
            }
        }
    }

    fn end(&mut self, from: SocketAddr, whole: bool) {
        let Some(transfer) = self.transfers.remove(&from) else { return };
        self.by_id.remove(&transfer.id);
        if let Some(count) = self.of_one.get_mut(&from.ip()) {
            *count -= 1;
            if *count == 0 {
                self.of_one.remove(&from.ip());
            }
        }
        let bytes = match transfer.state {
            State::Opening => 0,
            State::Waiting { heard, .. } => {
                self.timers.remove(&(heard + PATIENCE, from));
                let queue = if transfer.large { &mut self.large } else { &mut self.small };
                queue.retain(|waiting| *waiting != from);
                0
            }
            State::Running(sender) => {
                self.timers.remove(&(sender.deadline(), from));
                self.running[usize::from(transfer.large)] -= 1;
                sender.delivered()
            }
        };
        self.output.push_back(Output::Ended { id: transfer.id, bytes, whole });
    }

    fn tick(&mut self, now: Mono) {
        while let Some((_, from)) = self.timers.first().filter(|(at, _)| *at <= now).copied() {
            match self.transfers.get(&from).map(|transfer| &transfer.state) {
                Some(State::Running(_)) => self.step(now, from, |sender, packets| sender.timeout(now, packets)),
                Some(_) => self.end(from, false),
                None => drop(self.timers.pop_first()),
            }
        }
    }
}
