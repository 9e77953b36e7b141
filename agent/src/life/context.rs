//! What the steps of a boot share: what the kernel told, who listens, and what earlier steps left for later ones.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wulfpack_shared::bootargs::{BootArgs, BootArgsError};
use wulfpack_shared::wire::ReportKind;

use crate::console::Console;
use crate::handover::MemberState;
use crate::life::steps::{Linked, Membered, Rooted};
use crate::report::Reporter;

/// Why a step failed.
#[derive(Debug)]
pub(super) struct StepError {
    /// For a person: what failed and what to do.
    pub reason: String,
    /// Only a person may go on.
    pub hold: bool,
}

impl StepError {
    /// A failure after which the step is tried again by itself.
    pub(super) fn again(error: impl std::fmt::Display) -> Self {
        Self { reason: format!("{error:#}"), hold: false }
    }
}

impl From<anyhow::Error> for StepError {
    fn from(error: anyhow::Error) -> Self {
        Self::again(error)
    }
}

/// What earlier steps left.
#[derive(Debug, Default)]
pub struct Left {
    /// The network.
    pub linked: Option<Linked>,
    /// The membership.
    pub membered: Option<Membered>,
    /// The root.
    pub rooted: Option<Rooted>,
    /// What the running step does right now, for the progress line.
    pub doing: Option<String>,
    /// The clock less the time in the boot arguments, in milliseconds, once it was looked at.
    pub clock_offset_ms: Option<i64>,
    /// Why this machine has to begin again, if it has.
    pub restart: Option<String>,
}

/// See the file's head.
#[derive(Debug)]
pub struct Context {
    /// From the kernel command line.
    args: BootArgs,
    /// What the head said in their place, once it had made this machine a node.
    adopted: OnceLock<BootArgs>,
    /// Why the kernel command line could not be read, if so; then `args` are empty.
    pub bad_args: Option<BootArgsError>,
    /// The whole kernel command line.
    pub command_line: String,
    /// The machine's consoles.
    pub console: Console,
    /// Where events go.
    pub reporter: Reporter,
    /// Key, boot id and what else makes this process the member; saved whenever it changes.
    pub state: Mutex<MemberState>,
    left: Mutex<Left>,
}

impl Context {
    /// The context of one boot.
    pub fn new(
        args: BootArgs,
        bad_args: Option<BootArgsError>,
        command_line: String,
        console: Console,
        reporter: Reporter,
        state: MemberState,
    ) -> Arc<Self> {
        Arc::new(Self {
            args,
            adopted: OnceLock::new(),
            bad_args,
            command_line,
            console,
            reporter,
            state: Mutex::new(state),
            left: Mutex::default(),
        })
    }

    /// What the head told this machine, last.
    pub fn args(&self) -> &BootArgs {
        self.adopted.get().unwrap_or(&self.args)
    }

    /// The head has made this machine a node: these count from now on. Only the first word counts.
    pub fn adopt(&self, args: BootArgs) {
        self.adopted.get_or_init(|| args);
    }

    /// What earlier steps left; not held across a wait.
    pub fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member's state; not held across a wait.
    pub fn state(&self) -> MutexGuard<'_, MemberState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the running step does, for the progress line.
    pub fn doing(&self, text: impl Into<String>) {
        self.left().doing = Some(text.into());
    }

    /// A line for the console and for the head.
    pub fn say(&self, text: impl AsRef<str>) {
        self.console.line(text.as_ref());
        self.tell(ReportKind::Log(text.as_ref().to_owned()));
    }

    /// An event for the head, kept for whatever process of this boot comes next: this one may be killed at any moment.
    pub fn tell(&self, kind: ReportKind) {
        self.reporter.tell(kind);
        self.save();
    }

    /// Keeps the state for whatever process of this boot comes next.
    pub fn save(&self) {
        // Locked first: of two saves at a time the later one must know more.
        let mut state = self.state();
        let (next_event, events) = self.reporter.parts();
        state.next_event = next_event;
        state.events = events;
        if let Err(error) = state.save(std::path::Path::new(crate::paths::STATE)) {
            self.console.line(&format!("{error}; a restart of the agent would have to join with another key"));
        }
    }
}
