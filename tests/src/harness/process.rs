//! Child processes: in a group of their own, with all output kept and searchable, ended when dropped.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::cleanup::{Guard, Undo};
use super::tool::run;

#[derive(Debug, Default)]
struct State {
    output: Vec<u8>,
    readers: u8,
    status: Option<ExitStatus>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done` gives something, or the deadline passed, or nothing can change any more.
    fn wait<T>(&self, timeout: Duration, mut done: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(found) = done(&state) {
                return Some(found);
            }
            let over = state.status.is_some() && state.readers == 0;
            let left = deadline.saturating_duration_since(Instant::now());
            if over || left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What a process printed so far; it goes on growing while the process runs.
#[derive(Clone, Debug)]
pub struct Console {
    shared: Arc<Shared>,
    log: PathBuf,
}

impl Console {
    /// The file that holds it as well.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All of it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().output).into_owned()
    }

    /// Length so far: a position for [`Console::wait_for_after`].
    pub fn len(&self) -> usize {
        self.shared.lock().output.len()
    }

    /// Whether nothing was printed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until `text` was printed.
    pub fn wait_for(&self, text: &str, timeout: Duration) -> Result<()> {
        self.wait_for_after(0, text, timeout).map(drop)
    }

    /// Waits until `text` was printed after position `from`; returns the position behind it.
    pub fn wait_for_after(&self, from: usize, text: &str, timeout: Duration) -> Result<usize> {
        let needle = text.as_bytes();
        let mut searched = from;
        let found = self.shared.wait(timeout, |state| {
            let fresh = state.output.get(searched..)?;
            if let Some(at) = fresh.windows(needle.len()).position(|window| window == needle) {
                return Some(searched + at + needle.len());
            }
            searched = state.output.len().saturating_sub(needle.len().saturating_sub(1)).max(from);
            None
        });
        found.with_context(|| {
            let log = self.log.display();
            format!("{text:?} was not printed within {} s; the end of {log}:\n{}", timeout.as_secs(), self.tail(15))
        })
    }

    /// The last lines.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// A running child. Dropping it ends its whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    console: Console,
    stdin: Option<ChildStdin>,
    group: Pid,
    guard: Arc<Guard>,
}

impl Process {
    /// Starts `command`; standard output and standard error go to `log` and to the console.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut file = File::options().create(true).append(true).open(log);
        let file = file.as_mut().map_err(|error| anyhow::anyhow!("open {}: {error}", log.display()))?;
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let group = Pid::from_raw(i32::try_from(child.id()).context("process id")?);
        let guard = Arc::new(Guard::new(Undo::KillGroup(group)));
        let shared = Arc::new(Shared::default());
        shared.lock().readers = 2;
        let stdin = child.stdin.take();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            follow(out, file.try_clone()?, &shared);
            follow(err, file.try_clone()?, &shared);
        }
        watch(child, group, &shared, &guard);
        let console = Console { shared, log: log.to_owned() };
        Ok(Self { name: name.to_owned(), console, stdin, group, guard })
    }

    /// What it printed.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Types into its standard input.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input is closed")?;
        stdin.write_all(text.as_bytes()).with_context(|| format!("type into {}", self.name))
    }

    /// The largest resident set it has had, in bytes (proc_pid_status(5), `VmHWM`).
    pub fn peak_rss(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Its resident set now, in bytes (proc_pid_status(5), `VmRSS`).
    pub fn rss(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.group);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name} in {path}"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("read {line:?}"))?;
        Ok(kib * 1024)
    }

    /// CPU time that it has used, in seconds (proc_pid_stat(5), `utime` and `stime`).
    pub fn cpu_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.group);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        cpu_of(&text).with_context(|| format!("{path} says {text:?}"))
    }

    /// The same of all processes of its group that live.
    pub fn group_cpu_seconds(&self) -> Result<f64> {
        let mut sum = 0.0;
        for entry in std::fs::read_dir("/proc").context("read /proc")?.flatten() {
            // Others end while we look.
            let Ok(text) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
            if fields.clone().nth(2).is_some_and(|group| group.parse() == Ok(self.group.as_raw())) {
                sum += cpu_of(&text).unwrap_or_default();
            }
        }
        Ok(sum)
    }

    /// Lets all of its threads run on this core alone.
    pub fn pin(&self, core: u32) -> Result<()> {
        run(Command::new("taskset").args(["-a", "-p", "-c", &core.to_string(), &self.group.to_string()])).map(drop)
    }

    /// Its exit status, once it ended.
    pub fn status(&self) -> Option<ExitStatus> {
        self.console.shared.lock().status
    }

    /// Waits until it ends and all of its output was read.
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        self.console
            .shared
            .wait(timeout, |state| state.status.filter(|_| state.readers == 0))
            .with_context(|| format!("{} did not end within {} s", self.name, timeout.as_secs()))
    }

    /// Waits until it ends; an exit status other than 0 is an error that carries its last lines.
    pub fn wait_success(&self, timeout: Duration) -> Result<()> {
        let status = self.wait(timeout)?;
        if !status.success() {
            bail!("{}: {status}: {}", self.name, self.console.tail(15));
        }
        Ok(())
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        self.guard.signal(signal);
    }

    /// SIGKILL to the whole group, and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL);
        self.wait(Duration::from_secs(20)).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status().is_none() {
            // What ignores SIGKILL for this long is stuck in the kernel, and nothing more can be done here.
            drop(self.kill());
        }
    }
}

/// Seconds of user and system time in the text of `/proc/PID/stat`, in ticks of 10 ms (proc_pid_stat(5)).
fn cpu_of(stat: &str) -> Option<f64> {
    // The name, in brackets, may hold anything.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / 100.0)
}

fn follow(mut from: impl Read + Send + 'static, mut log: File, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            // The console is kept in memory also when the disk is full.
            drop(log.write_all(&buffer[..length]));
            shared.lock().output.extend_from_slice(&buffer[..length]);
            shared.changed.notify_all();
        }
        shared.lock().readers -= 1;
        shared.changed.notify_all();
    });
}

fn watch(mut child: Child, group: Pid, shared: &Arc<Shared>, guard: &Arc<Guard>) {
    let (shared, guard) = (Arc::clone(shared), Arc::clone(guard));
    std::thread::spawn(move || {
        // The child stays a zombie until the rest of its group was ended, so that its number still means this group.
        while waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {}
        let status = guard.release(|| child.wait());
        shared.lock().status = status.ok();
        shared.changed.notify_all();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process = Process::start("sh", command, &dir.path().join("log")).unwrap();
        (dir, process)
    }

    #[test]
    fn output_is_found_when_it_comes_and_kept_in_the_log() {
        let (_dir, mut process) = shell("echo first; read line; echo \"got $line\"; exit 3");
        process.console().wait_for("first", SOON).unwrap();
        process.type_text("hello\n").unwrap();
        let behind = process.console().wait_for_after(0, "got hello", SOON).unwrap();
        assert_eq!(process.wait(SOON).unwrap().code(), Some(3));
        assert!(process.wait_success(SOON).unwrap_err().to_string().contains("got hello"));
        assert!(process.console().wait_for_after(behind, "first", SOON).is_err(), "only what came later counts");
        assert_eq!(std::fs::read_to_string(process.console().log()).unwrap(), "first\ngot hello\n");
    }

    #[test]
    fn the_whole_group_ends_with_the_process() {
        let (_dir, process) = shell("sleep 1000 & echo $!; wait");
        let line = process.console().shared.wait(SOON, |state| state.output.ends_with(b"\n").then_some(())).is_some();
        assert!(line);
        let grandchild: u32 = process.console().text().trim().parse().unwrap();
        process.kill().unwrap();
        // The pipes of a process that ends are closed a moment before it is gone.
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
        };
        let deadline = Instant::now() + SOON;
        while !ended() {
            assert!(Instant::now() < deadline, "{grandchild} lives on");
            std::thread::yield_now();
        }
    }
}
