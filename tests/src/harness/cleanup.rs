//! What has to be undone when a lab ends: also when the test panics, or a person presses Ctrl-C.
//!
//! Everything a lab creates outside its own memory is registered here first. Dropping the [`Guard`] undoes it; a signal
//! undoes all that is left, the newest first, and ends the process. After SIGKILL nothing of this runs: children then die
//! by their parent-death signal, and the next lab sweeps the namespaces away (see `netns`).

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Something to undo.
#[derive(Debug)]
pub enum Undo {
    /// End all processes of this group.
    KillGroup(Pid),
    /// Delete this network namespace.
    DeleteNetns(String),
    /// Remove this file or directory and what is in it.
    Remove(PathBuf),
}

impl Undo {
    fn run(self) {
        match self {
            Self::KillGroup(group) => {
                // A group that ended by itself is what was wanted.
                let _ = killpg(group, Signal::SIGKILL);
            }
            Self::DeleteNetns(name) => {
                // A namespace that cannot be deleted is swept by the next lab.
                drop(Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status());
            }
            Self::Remove(path) if path.is_dir() => drop(std::fs::remove_dir_all(path)),
            Self::Remove(path) => drop(std::fs::remove_file(path)),
        }
    }
}

#[derive(Debug)]
struct Ledger {
    next: u64,
    open: BTreeMap<u64, Undo>,
}

static LEDGER: Mutex<Ledger> = Mutex::new(Ledger { next: 0, open: BTreeMap::new() });
static SIGNALS: Once = Once::new();

fn ledger() -> MutexGuard<'static, Ledger> {
    LEDGER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes what it stands for when it is dropped.
#[derive(Debug)]
#[must_use = "dropping a guard undoes what it guards"]
pub struct Guard {
    id: u64,
}

impl Guard {
    /// Registers something that has to be undone.
    pub fn new(undo: Undo) -> Self {
        SIGNALS.call_once(watch_signals);
        let mut ledger = ledger();
        let id = ledger.next;
        ledger.next += 1;
        ledger.open.insert(id, undo);
        Self { id }
    }

    /// Sends a signal to the guarded process group, unless it was released in the meantime: its number may be another's by then.
    pub fn signal(&self, signal: Signal) {
        if let Some(Undo::KillGroup(group)) = ledger().open.get(&self.id) {
            // It may have ended by itself.
            let _ = killpg(*group, signal);
        }
    }

    /// Undoes it now; `last` runs behind it, while nobody can send a signal.
    pub fn release<T>(&self, last: impl FnOnce() -> T) -> T {
        let mut ledger = ledger();
        if let Some(undo) = ledger.open.remove(&self.id) {
            undo.run();
        }
        last()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let undo = ledger().open.remove(&self.id);
        if let Some(undo) = undo {
            undo.run();
        }
    }
}

fn undo_all() {
    let open = std::mem::take(&mut ledger().open);
    for (_, undo) in open.into_iter().rev() {
        undo.run();
    }
}

fn watch_signals() {
    let spawned = std::thread::Builder::new().name("signals".into()).spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut hangup = signal(SignalKind::hangup())?;
            let number = tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
                _ = hangup.recv() => 1,
            };
            drop(writeln!(io::stderr(), "\ninterrupted: removing machines and networks"));
            undo_all();
            std::process::exit(128 + number)
        })
    });
    // Without the thread a signal ends the process at once, and the next lab sweeps.
    drop::<io::Result<std::thread::JoinHandle<io::Result<()>>>>(spawned);
}
