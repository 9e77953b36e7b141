//! The side of a session that stays on the head: it holds the image, starts the inside, and waits for it.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tempfile::TempDir;
use wulfpack_shared::id::{ImageName, NodeName};

use super::Bind;
use super::marks::remove_marks;
use super::spec::{Outcome, Spec};
use crate::image::error::Doing as _;
use crate::image::library::ImageLock;
use crate::image::{ImageError, Library};

/// What a session is like.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// What is seen of the head.
    pub binds: Vec<Bind>,
    /// Nothing can be changed, and several such sessions may go on beside each other and beside a writer.
    pub view: bool,
    /// With this node's overlays; makes it a view.
    pub node: Option<NodeName>,
    /// Program and arguments; none for a shell.
    pub command: Vec<String>,
    /// The environment: nothing else is inherited.
    pub environment: Vec<(String, String)>,
    /// What a shell shows in front of a command.
    pub prompt: String,
    /// Starts the inside: this program with these arguments and the path of a file behind them.
    pub inside: Vec<String>,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// Code of the command; 127 if it could not be started.
    pub code: u8,
    /// What went wrong beside it.
    pub complaints: Vec<String>,
    /// Whether nothing could be changed.
    pub view: bool,
}

/// Where a session keeps what is no part of the image, and the right to change it.
struct Held {
    scratch: TempDir,
    // Dropped after what lies in the image's directory.
    _lock: Option<ImageLock>,
}

impl Library {
    /// Runs a command inside the image `name`.
    ///
    /// # Errors
    /// Where there is no such image, somebody else changes it, or the session cannot be prepared.
    pub fn session(&self, name: &ImageName, settings: &SessionSettings) -> Result<SessionEnd, ImageError> {
        let root = self.tree(name)?.root().to_owned();
        let view = settings.view || settings.node.is_some() || self.is_read_only(name);
        let held = if view {
            let scratch = tempfile::Builder::new().prefix("wulf-view-").tempdir().doing("create", "a directory")?;
            let place = scratch.path().join("view");
            fs::create_dir(&place).doing("create", &place)?;
            Held { scratch, _lock: None }
        } else {
            let lock = ImageLock::take_now(name, &self.existing(name)?)?;
            Held { scratch: lock.temporary()?, _lock: Some(lock) }
        };
        let spec = Spec {
            root,
            scratch: held.scratch.path().to_owned(),
            hostname: hostname(name, settings.node.as_ref()),
            binds: settings.binds.clone(),
            view,
            node: settings.node.clone(),
            command: settings.command.clone(),
            environment: settings.environment.clone(),
            prompt: settings.prompt.clone(),
        };
        for bind in &spec.binds {
            fs::metadata(&bind.source).doing("find", &bind.source)?;
        }
        let path = held.scratch.path().join("spec");
        let text = serde_json::to_vec(&spec).map_err(io::Error::from).doing("write", &path)?;
        fs::write(&path, text).doing("write", &path)?;
        let status = start(&settings.inside, &path)?;
        self.ended(name, &spec, status)
    }

    fn ended(&self, name: &ImageName, spec: &Spec, status: ExitStatus) -> Result<SessionEnd, ImageError> {
        let outcome = fs::read(spec.outcome()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let session = |why: String| ImageError::Session { name: name.clone(), why };
        let (code, mut complaints, overlaid) = match outcome {
            Some(Outcome::Ended { code, hooks, overlaid }) => (code, hooks, overlaid),
            Some(Outcome::NotStarted { why, overlaid }) => {
                (127, vec![format!("the command was not started, {why}")], overlaid)
            }
            Some(Outcome::NotPrepared { why }) => return Err(session(why)),
            // Killed, and whatever it was has left its marks.
            None => match status.signal() {
                Some(signal) => {
                    (128 + u8::try_from(signal).unwrap_or(0), vec!["the session was killed".into()], !spec.view)
                }
                None => return Err(session(format!("its first process ended with {status}; unshare(1) says why"))),
            },
        };
        if overlaid && let Err(error) = remove_marks(&spec.root) {
            complaints.push(format!("marks of the overlay file system stay in the tree: {error}"));
        }
        Ok(SessionEnd { code, complaints, view: spec.view })
    }
}

/// A host name from that of the image: letters, digits and dashes (RFC 1123, section 2.1).
fn hostname(name: &ImageName, node: Option<&NodeName>) -> String {
    match node {
        Some(node) => node.to_string(),
        None => name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
    }
}

/// Starts the first process of new namespaces and waits for it. It dies with us. What is typed to end a command is for that command:
/// we have to put the image in order afterwards.
fn start(inside: &[String], spec: &std::path::Path) -> Result<ExitStatus, ImageError> {
    let program = PathBuf::from("setpriv");
    let mut command = Command::new(&program);
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--"]);
    command.args(inside).arg(spec);
    let mut ours = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        ours.add(signal);
    }
    let signals = SignalFd::with_flags(&ours, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
    let signals = signals.doing("watch", "signals")?;
    ours.thread_block().doing("block", "signals")?;
    let status = command.status();
    // What came meanwhile was not for us.
    while matches!(signals.read_signal(), Ok(Some(_))) {}
    ours.thread_unblock().doing("unblock", "signals")?;
    status.map_err(|source| ImageError::Io { action: "start", path: program, source })
}
