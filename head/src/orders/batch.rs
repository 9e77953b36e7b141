//! The orders of one command: the same to many nodes, to so many at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::NodeName;
use wulfpack_shared::time::Mono;
use wulfpack_shared::wire::{Order, OrderKind, OrderOutcome};

/// A node that was given an order and says nothing keeps the next one waiting no longer than this, and the spread.
const SLOT: Duration = Duration::from_secs(120);
/// A node where a job runs is asked again after this.
const BUSY_AGAIN: Duration = Duration::from_secs(60);

/// How fast a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Most nodes that are at it at the same time.
    pub at_once: u32,
    /// Each begins after a random time up to so many milliseconds.
    pub spread_ms: u32,
    /// After so many seconds it is not offered to anybody any more.
    pub give_up_s: u32,
}

/// Where the order of one node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "text")]
pub enum JobState {
    /// Its turn has not come.
    Waiting,
    /// The node does not listen.
    Away,
    /// The node has it.
    Sent,
    /// A job runs there; it is asked again later.
    Busy(String),
    /// It is done.
    Done(String),
    /// It went wrong.
    Failed(String),
    /// Time ran out.
    GaveUp(String),
}

impl JobState {
    /// Whether nothing more will happen.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_) | Self::GaveUp(_))
    }
}

/// Where a batch stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Its number.
    pub id: u64,
    /// Rises with each change.
    pub version: u64,
    /// What the nodes are told.
    pub what: OrderKind,
    /// Every node.
    pub nodes: BTreeMap<NodeName, JobState>,
}

impl Progress {
    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.nodes.values().all(JobState::is_final)
    }
}

#[derive(Clone, Debug)]
struct Job {
    number: u64,
    state: JobState,
    /// While `Sent`: when it stops to count. While `Busy`: when to ask again.
    until: Mono,
}

#[derive(Debug)]
pub(super) struct Batch {
    what: OrderKind,
    pace: Pace,
    ends: Mono,
    jobs: BTreeMap<NodeName, Job>,
    /// Nodes that listen and whose turn has not come.
    ready: BTreeSet<NodeName>,
    version: u64,
}

impl Batch {
    /// `first` is the number of the first order; the others follow it in the order of the nodes.
    pub(super) fn new(now: Mono, first: u64, nodes: BTreeSet<NodeName>, what: OrderKind, pace: Pace) -> Self {
        let jobs = nodes.into_iter().zip(first..);
        let job = |number| Job { number, state: JobState::Away, until: now };
        let ends = now + Duration::from_secs(pace.give_up_s.into());
        let jobs = jobs.map(|(node, number)| (node, job(number))).collect();
        Self { what, pace, ends, jobs, ready: BTreeSet::new(), version: 1 }
    }

    pub(super) fn len(&self) -> u64 {
        self.jobs.len() as u64
    }

    pub(super) fn progress(&self, id: u64) -> Progress {
        let nodes = self.jobs.iter().map(|(node, job)| (node.clone(), job.state.clone())).collect();
        Progress { id, version: self.version, what: self.what, nodes }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn is_over(&self) -> bool {
        self.jobs.values().all(|job| job.state.is_final())
    }

    /// The outcome of one of its orders. What is final stays.
    pub(super) fn ended(&mut self, now: Mono, node: &NodeName, number: u64, outcome: &OrderOutcome) -> bool {
        let Some(job) = self.jobs.get_mut(node) else { return false };
        if job.number != number || job.state.is_final() {
            return false;
        }
        job.state = match outcome.clone() {
            OrderOutcome::Done(text) => JobState::Done(text),
            OrderOutcome::Failed(text) => JobState::Failed(text),
            OrderOutcome::Busy(text) => JobState::Busy(text),
        };
        job.until = now + BUSY_AGAIN;
        self.version += 1;
        true
    }

    /// The node listens, and has these orders already. What it was sent and does not have goes out again at once.
    pub(super) fn listens(&mut self, node: &NodeName, taken: &[u64]) -> Option<Order> {
        let (what, spread_ms) = (self.what, self.pace.spread_ms);
        let job = self.jobs.get_mut(node)?;
        match job.state {
            JobState::Away | JobState::Waiting => {
                if job.state == JobState::Away {
                    job.state = JobState::Waiting;
                    self.version += 1;
                }
                self.ready.insert(node.clone());
                None
            }
            JobState::Sent if !taken.contains(&job.number) => Some(Order { number: job.number, what, spread_ms }),
            _ => None,
        }
    }

    /// The node does not listen now; it may be at an order, or `gone`.
    pub(super) fn leaves(&mut self, node: &NodeName, gone: bool) {
        self.ready.remove(node);
        if gone
            && let Some(job) = self.jobs.get_mut(node)
            && job.state == JobState::Waiting
        {
            job.state = JobState::Away;
            self.version += 1;
        }
    }

    /// The next node whose turn it is, with its order.
    pub(super) fn next(&mut self, now: Mono) -> Option<(NodeName, Order)> {
        if self.ready.is_empty() || now >= self.ends {
            return None;
        }
        let under_way = self.jobs.values().filter(|job| job.state == JobState::Sent && job.until > now).count();
        if under_way >= self.pace.at_once.max(1) as usize {
            return None;
        }
        let node = self.ready.pop_first()?;
        let job = self.jobs.get_mut(&node)?;
        job.state = JobState::Sent;
        job.until = now + SLOT + Duration::from_millis(self.pace.spread_ms.into());
        self.version += 1;
        Some((node, Order { number: job.number, what: self.what, spread_ms: self.pace.spread_ms }))
    }

    /// Time has passed. Returns the nodes that are to be asked again.
    pub(super) fn tick(&mut self, now: Mono) -> Vec<NodeName> {
        let mut again = vec![];
        for (node, job) in &mut self.jobs {
            if !job.state.is_final() && now >= self.ends {
                let why = match &job.state {
                    JobState::Away => "the node does not listen: is it up?".to_owned(),
                    JobState::Busy(text) => text.clone(),
                    JobState::Sent => "the node took it and said nothing more".to_owned(),
                    _ => "its turn did not come in time, or it went away".to_owned(),
                };
                job.state = JobState::GaveUp(why);
                self.version += 1;
            } else if matches!(job.state, JobState::Busy(_)) && now >= job.until {
                job.state = JobState::Away;
                self.version += 1;
                again.push(node.clone());
            }
        }
        if now >= self.ends {
            self.ready.clear();
        }
        again
    }

    /// When something is due.
    pub(super) fn timeout(&self, now: Mono) -> Option<Mono> {
        let due = |job: &Job| match job.state {
            JobState::Sent if job.until > now => Some(job.until),
            JobState::Busy(_) => Some(job.until),
            _ => None,
        };
        (!self.is_over()).then(|| self.jobs.values().filter_map(due).fold(self.ends, Mono::min))
    }
}
