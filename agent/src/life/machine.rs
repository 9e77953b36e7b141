//! The life of a node as a pure machine: which step runs, what a failure leads to, when to try again.
//!
//! ```text
//!   Modules ─> Link ─> Join ─> Fetch ─> Mount ─> Overlay ─> Pivot ─> (the real init)
//!      ▲         ▲       │       │        │         │
//!      └─────────┴───────┴── a failed step again, after a pause with jitter, at most 60 s
//! ```
//! * A machine that no node is runs `Discover` behind `Link`; adopted, it runs `Link` again, as the node, and goes on.
//! * Losing the link starts `Link` again beside whatever runs, never the boot.
//! * A manifest that does not verify, or a key pressed on the console, holds the machine until a person says otherwise.
//! * `wulf.onfail=reboot|poweroff` replaces the retry, after the longest pause.

use core::time::Duration;
use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wulfpack_shared::time::{Mono, Now};
use wulfpack_shared::wire::{OnFail, Phase, ReportKind};

/// First pause after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause after a failure (REAL-CLUSTERS rule 3).
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the shell does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Load the modules that the hardware asks for.
    Modules,
    /// Interface, carrier, address, an answer from gateway or head.
    Link,
    /// Tell what this machine is, and wait until it is a node.
    Discover,
    /// Clock, key, token; back come certificate, manifest, overlays, peers.
    Join,
    /// Every unit of the image, verified.
    Fetch,
    /// The root file system.
    Mount,
    /// The overlays, and what else makes the root this node's.
    Overlay,
    /// The supervisor moves into the root and becomes init.
    Pivot,
}

impl Step {
    const fn next(self) -> Option<Self> {
        match self {
            Self::Modules => Some(Self::Link),
            // Behind discovery the network is that of the node.
            Self::Discover => Some(Self::Link),
            Self::Link => Some(Self::Join),
            Self::Join => Some(Self::Fetch),
            Self::Fetch => Some(Self::Mount),
            Self::Mount => Some(Self::Overlay),
            Self::Overlay => Some(Self::Pivot),
            Self::Pivot => None,
        }
    }

    /// The phase that ends with this step. Modules and link belong to the phase that ends with the join.
    pub const fn phase(self) -> Phase {
        match self {
            Self::Modules | Self::Link | Self::Discover | Self::Join => Phase::Join,
            Self::Fetch => Phase::Fetch,
            Self::Mount => Phase::Mount,
            Self::Overlay => Phase::Overlay,
            Self::Pivot => Phase::Pivot,
        }
    }

    const fn ends_phase(self) -> bool {
        !matches!(self, Self::Modules | Self::Link | Self::Discover)
    }

    /// What a person reads.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Modules => "loading kernel modules",
            Self::Link => "bringing up the network",
            Self::Discover => "discovery",
            Self::Join => "joining the cluster",
            Self::Fetch => "fetching the image",
            Self::Mount => "mounting the root file system",
            Self::Overlay => "applying overlays",
            Self::Pivot => "handing over to init",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Power on.
    Start,
    /// Time has passed.
    Tick,
    /// A step ended well.
    Done(Step),
    /// A step failed.
    Failed {
        /// Which.
        step: Step,
        /// Why, and what to do, for a person.
        reason: String,
        /// Trying again by itself would be wrong: only a person may go on.
        hold: bool,
    },
    /// The carrier is gone or the address was lost.
    LinkLost,
    /// The head has made this machine a node, which wants this after a failure.
    Adopted(OnFail),
    /// What runs is not what this machine shall boot: it begins again.
    Restart,
    /// A key on a console.
    Key(Key),
}

/// What a key on the console asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Any key: somebody is there. What has failed is not tried again by itself.
    Attention,
    /// Try now.
    Retry,
    /// From power-on.
    Reboot,
    /// Power off.
    Poweroff,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Run a step.
    Run(Step),
    /// Tell the head.
    Report(ReportKind),
    /// Show the Rescue prompt: a step failed, or somebody came to look at one that had.
    Rescue {
        /// What failed.
        step: Step,
        /// Why.
        reason: String,
        /// When it is tried again by itself; `None`: held.
        retry_at: Option<Mono>,
    },
    /// Reboot the machine.
    Reboot,
    /// Power the machine off.
    Poweroff,
}

/// Why the machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pause after a failure ends.
    Pause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Off,
    Running(Step),
    /// Failed; goes on by itself at `until`, or never if `None`.
    Paused {
        step: Step,
        reason: String,
        until: Option<Mono>,
    },
    Over,
}

/// The machine. See the file's head.
#[derive(Debug)]
pub struct Life {
    state: State,
    on_fail: OnFail,
    /// No node is this machine yet.
    discover: bool,
    /// Failures of the current step in a row.
    failures: u32,
    /// `Link` runs again beside the current step.
    relinking: bool,
    rng: ChaCha8Rng,
    outputs: VecDeque<Output>,
}

impl Life {
    /// A machine that has not been switched on.
    pub fn new(on_fail: OnFail, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (state, outputs) = (State::Off, VecDeque::new());
        Self { state, on_fail, discover: false, failures: 0, relinking: false, rng, outputs }
    }

    /// The same for a machine that no node is.
    #[must_use]
    pub const fn discovering(mut self) -> Self {
        self.discover = true;
        self
    }

    /// The step that runs or has failed.
    pub const fn step(&self) -> Option<Step> {
        match self.state {
            State::Running(step) | State::Paused { step, .. } => Some(step),
            State::Off | State::Over => None,
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Start if self.state == State::Off => self.run(Step::Modules),
            Input::Start => {}
            Input::Tick => self.tick(now.mono),
            Input::Done(step) => self.done(step),
            Input::Failed { step, reason, hold } => self.failed(now.mono, step, reason, hold),
            Input::LinkLost => self.link_lost(),
            Input::Adopted(on_fail) => (self.on_fail, self.discover) = (on_fail, false),
            Input::Restart if matches!(self.state, State::Running(_) | State::Paused { .. }) => {
                self.end(Output::Reboot)
            }
            Input::Restart => {}
            Input::Key(key) => self.key(key),
        }
    }

    /// What to do next; drain after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in a [`Input::Tick`].
    pub const fn poll_timeout(&self) -> Option<(Mono, Reason)> {
        match self.state {
            State::Paused { until: Some(until), .. } => Some((until, Reason::Pause)),
            _ => None,
        }
    }

    fn run(&mut self, step: Step) {
        self.state = State::Running(step);
        self.outputs.push_back(Output::Run(step));
    }

    fn done(&mut self, step: Step) {
        if step == Step::Link && self.relinking {
            self.relinking = false;
            // What failed for want of a link need not wait any longer.
            if let State::Paused { step, until: Some(_), .. } = self.state {
                self.run(step);
            }
            return;
        }
        if self.state != State::Running(step) {
            return;
        }
        self.failures = 0;
        if step.ends_phase() {
            self.outputs.push_back(Output::Report(ReportKind::Reached(step.phase())));
        }
        match step.next() {
            Some(_) if step == Step::Link && self.discover => self.run(Step::Discover),
            Some(next) => self.run(next),
            None => self.state = State::Over,
        }
    }

    fn failed(&mut self, now: Mono, step: Step, reason: String, hold: bool) {
        if step == Step::Link && self.relinking {
            // The link stays down: try again for as long as it takes; the step beside it waits on its own.
            self.outputs.push_back(Output::Run(Step::Link));
            return;
        }
        if self.state != State::Running(step) {
            return;
        }
        self.failures += 1;
        let pause = match self.on_fail {
            OnFail::Retry => self.pause(),
            OnFail::Reboot | OnFail::Poweroff => PAUSE_MAX,
        };
        let until = (!hold).then(|| now + pause);
        let retry_s = if hold { u32::MAX } else { u32::try_from(pause.as_secs()).unwrap_or(u32::MAX) };
        self.outputs.push_back(Output::Report(ReportKind::Failed {
            phase: step.phase(),
            reason: reason.clone(),
            retry_s,
        }));
        self.outputs.push_back(Output::Rescue { step, reason: reason.clone(), retry_at: until });
        self.state = State::Paused { step, reason, until };
    }

    /// Doubles from [`PAUSE_MIN`] to [`PAUSE_MAX`]; the upper half is random, so that a rack does not knock in step.
    fn pause(&mut self) -> Duration {
        let full = PAUSE_MIN.saturating_mul(1 << self.failures.saturating_sub(1).min(6)).min(PAUSE_MAX);
        let half = full.as_millis() as u64 / 2;
        Duration::from_millis(half + self.rng.next_u64() % (half + 1))
    }

    fn tick(&mut self, now: Mono) {
        let State::Paused { step, until: Some(until), .. } = self.state else { return };
        if now < until {
            return;
        }
        match self.on_fail {
            OnFail::Retry => self.run(step),
            OnFail::Reboot => self.end(Output::Reboot),
            OnFail::Poweroff => self.end(Output::Poweroff),
        }
    }

    fn end(&mut self, output: Output) {
        self.state = State::Over;
        self.outputs.push_back(output);
    }

    fn link_lost(&mut self) {
        let beyond_link = self.step().is_some_and(|step| step > Step::Link && step < Step::Pivot);
        if beyond_link && !self.relinking {
            self.relinking = true;
            self.outputs.push_back(Output::Run(Step::Link));
        }
    }

    fn key(&mut self, key: Key) {
        match (key, &mut self.state) {
            (Key::Reboot, State::Running(_) | State::Paused { .. }) => self.end(Output::Reboot),
            (Key::Poweroff, State::Running(_) | State::Paused { .. }) => self.end(Output::Poweroff),
            (Key::Retry, State::Paused { step, .. }) => {
                let step = *step;
                self.failures = 0;
                self.run(step);
            }
            // A boot that goes well is not stopped by a cat on the keyboard; one that failed waits for the person who came.
            (Key::Attention, State::Paused { step, reason, until: until @ Some(_) }) => {
                *until = None;
                let (step, reason) = (*step, reason.clone());
                self.outputs.push_back(Output::Rescue { step, reason, retry_at: None });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
