//! PID 1. It does little, so that little can go wrong: everything that touches the network runs in the child.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::message::{Failure, ToSupervisor, send};
use crate::console::Console;
use crate::paths;
use crate::root;

/// First and longest pause before the child is started again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long a person may read why the supervisor failed before the machine starts again.
const READ: Duration = Duration::from_secs(60);
/// A child that lived this long starts with a short pause again.
const STABLE: Duration = Duration::from_secs(120);
/// Longest request of the child.
const REQUEST_MAX: usize = 64 * 1024;

/// Runs as PID 1; never returns: it becomes the node's init.
pub fn run() -> ! {
    let early = root::mount_early();
    let console = Console::open();
    if let Err(error) = early {
        console.line(&format!("failed to mount the early file systems: {error:#}; going on without"));
    }
    console.line(&format!("Wulfpack agent {}", env!("CARGO_PKG_VERSION")));
    let (signals, error) = match watch_children() {
        Ok(signals) => match supervise(&console, &signals) {
            Ok(never) => match never {},
            Err(error) => (Some(signals), error),
        },
        Err(error) => (None, error),
    };
    // Ending PID 1 would be a kernel panic without a word of why. The kernel reboots after panic= seconds at worst.
    loop {
        console.line(&format!("the supervisor failed: {error:#}; the machine reboots in {} s", READ.as_secs()));
        reap_for(signals.as_ref(), READ);
        console.line(&go_down(RebootMode::RB_AUTOBOOT));
    }
}

fn watch_children() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("failed to block SIGCHLD")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("failed to watch for SIGCHLD")
}

fn supervise(console: &Console, signals: &SignalFd) -> Result<std::convert::Infallible> {
    if let Err(error) = install_self() {
        console.line(&format!("failed to copy the agent for the running system: {error:#}"));
    }
    let (mut pause, mut restarts, mut ended) = (PAUSE.0, 0u32, None::<String>);
    loop {
        let started = Instant::now();
        let how = match spawn(restarts, ended.as_deref()) {
            Ok((child, stream)) => watch(console, signals, &child, stream)?,
            Err(error) => format!("could not be started: {error:#}"),
        };
        pause = if started.elapsed() > STABLE { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        console.line(&format!("the agent's worker {how}; it starts again in {} s", pause.as_secs()));
        reap_for(Some(signals), pause);
        (restarts, ended) = (restarts + 1, Some(how));
    }
}

/// The running system has no other way to this binary: the initramfs goes away at the pivot.
fn install_self() -> Result<()> {
    std::fs::create_dir_all(paths::RUN).with_context(|| format!("failed to create {}", paths::RUN))?;
    let target = Path::new(paths::AGENT);
    std::fs::copy("/proc/self/exe", target).with_context(|| format!("failed to write {}", target.display()))?;
    std::fs::set_permissions(target, std::fs::Permissions::from_mode(0o755))
        .context("failed to make the copy executable")
}

fn spawn(restarts: u32, ended: Option<&str>) -> Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair().context("failed to create a socket pair")?;
    let mut command = Command::new("/proc/self/exe");
    // systemd leaves processes alone whose name begins with '@' (systemd.io/ROOT_STORAGE_DAEMONS).
    command.arg0("@wulf-agent").arg("boot").stdin(Stdio::from(OwnedFd::from(theirs)));
    command.env("WULF_RESTARTS", restarts.to_string()).env_remove("WULF_ENDED");
    if let Some(ended) = ended {
        command.env("WULF_ENDED", ended);
    }
    let child = command.spawn().context("failed to start the worker")?;
    Ok((child, ours))
}

/// Serves the child until it ends; says how it ended.
fn watch(console: &Console, signals: &SignalFd, child: &Child, mut stream: UnixStream) -> Result<String> {
    let pid = Pid::from_raw(i32::try_from(child.id()).context("process id out of range")?);
    let mut buffer = Vec::new();
    let mut open = true;
    loop {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if open {
            fds.push(PollFd::new(stream.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("failed to wait for the worker"),
        }
        let readable = open && fds.get(1).and_then(PollFd::any).unwrap_or(false);
        if let Some(how) = reap(Some(signals), Some(pid)) {
            return Ok(how);
        }
        if readable {
            open = receive(console, &mut stream, &mut buffer).unwrap_or(false);
        }
    }
}

/// Reads what the child wrote; `false` when it will write no more.
fn receive(console: &Console, stream: &mut UnixStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 4096];
    let count = stream.read(&mut piece)?;
    buffer.extend_from_slice(piece.get(..count).unwrap_or_default());
    while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = buffer.drain(..=end).collect();
        if let Ok(message) = serde_json::from_slice::<ToSupervisor>(&line) {
            obey(console, stream, &message)?;
        }
    }
    Ok(count > 0 && buffer.len() < REQUEST_MAX)
}

fn obey(console: &Console, stream: &mut UnixStream, message: &ToSupervisor) -> io::Result<()> {
    let reason = match message {
        ToSupervisor::Pivot { root, init } => match become_init(root, init) {
            Ok(never) => match never {},
            Err(error) => format!("{error:#}"),
        },
        ToSupervisor::Reboot => go_down(RebootMode::RB_AUTOBOOT),
        ToSupervisor::Poweroff => go_down(RebootMode::RB_POWER_OFF),
    };
    console.line(&reason);
    send(stream, &Failure { reason })
}

fn become_init(new_root: &Path, init: &str) -> Result<std::convert::Infallible> {
    root::move_mounts_and_switch(new_root)?;
    // What the kernel did not know on its command line belongs to init: `single`, `3`, `systemd.unit=…`.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_unblock().context("failed to restore the signal mask for init")?;
    Ok(root::exec_init(init, &arguments)?)
}

fn go_down(mode: RebootMode) -> String {
    nix::unistd::sync();
    match reboot(mode) {
        Ok(never) => match never {},
        Err(error) => format!("failed to switch the machine off or restart it: {error}"),
    }
}

/// Reaps every process that has ended; says how the one with id `wanted` ended, if it did.
fn reap(signals: Option<&SignalFd>, wanted: Option<Pid>) -> Option<String> {
    while let Some(Ok(Some(_))) = signals.map(SignalFd::read_signal) {}
    let mut found = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if Some(pid) == wanted => {
                found = Some(format!("ended with status {code}"))
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if Some(pid) == wanted => {
                found = Some(format!("was ended by {signal}"))
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return found,
            Ok(_) => {}
        }
    }
}

/// Lets `pause` pass, reaping meanwhile; without signals to wait for it reaps at the end.
fn reap_for(signals: Option<&SignalFd>, pause: Duration) {
    let until = Instant::now() + pause;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds: Vec<_> = signals.iter().map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)).collect();
        let _woken = poll(&mut fds, timeout);
        reap(signals, None);
    }
}
