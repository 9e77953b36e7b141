//! The first process of a session's namespaces. It mounts, makes the tree its root, runs the command as an init would (whatever
//! loses its parent is waited for), then the image's exit hooks.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::SigSet;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chroot, sethostname};
use wulfpack_shared::id::NodeName;

use super::mounts::{copies_out, copy_in, furnish, lay};
use super::spec::{Outcome, Spec};
use crate::image::ImageError;
use crate::image::error::Doing as _;
use crate::image::tree::Tree;

/// Run in the image after a command: Warewulf's name, and ours.
const HOOKS: [&str; 2] = ["/etc/warewulf/image_exit.sh", "/etc/wulfpack/image_exit.sh"];
/// What a shell reads first.
const SHELL_RC: &str = "/run/wulfpack.rc";

/// Puts a node's overlays into a tree.
pub type NodeView<'a> = dyn Fn(&NodeName, &Path) -> anyhow::Result<()> + 'a;

/// Runs the session that is described in the file `spec`; only `wulf` itself calls this, as the first process of new namespaces.
///
/// # Errors
/// Where not even the reason can be left for the outside.
pub fn inside(spec: &Path, view: &NodeView<'_>) -> Result<(), ImageError> {
    let text = fs::read(spec).doing("read", spec)?;
    let spec: Spec = serde_json::from_slice(&text).map_err(std::io::Error::from).doing("read", spec)?;
    let path = spec.outcome();
    // Opened while it can be reached; nothing inside sees it.
    let file = fs::File::create(&path).doing("create", &path)?;
    let outcome = session(&spec, view).unwrap_or_else(|error| Outcome::NotPrepared { why: format!("{error:#}") });
    serde_json::to_writer(file, &outcome).map_err(std::io::Error::from).doing("write", &path)
}

fn session(spec: &Spec, view: &NodeView<'_>) -> anyhow::Result<Outcome> {
    // The outside has blocked what is typed to end a command: for itself.
    SigSet::empty().thread_set_mask().doing("unblock", "signals")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).doing("make private", "/")?;
    if spec.view {
        // What a view needs is gone with it.
        mount(Some("tmpfs"), &spec.scratch.join("view"), Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .doing("mount", &spec.scratch)?;
    }
    let laid =
        lay(&if spec.view { Spec { scratch: spec.scratch.join("view"), ..spec.clone() } } else { spec.clone() })?;
    if let Some(node) = &spec.node {
        view(node, &laid.root)?;
    }
    if spec.view {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(none, &laid.root, none, flags, none).doing("make read-only", &laid.root)?;
    }
    furnish(&laid.root, spec)?;
    let copies = if spec.view { vec![] } else { copy_in(&laid.root, &spec.binds)? };
    sethostname(&spec.hostname).doing("set the host name to", &spec.hostname)?;
    let program = program(spec, &laid.root)?;
    chroot(&laid.root).doing("enter", &laid.root)?;
    std::env::set_current_dir("/").doing("enter", "/")?;
    let outcome = match run(&program, spec) {
        Ok(code) => Outcome::Ended { code, hooks: hooks(spec), overlaid: laid.overlaid },
        Err(error) => {
            let program = program.first().map_or("the shell", String::as_str);
            Outcome::NotStarted { why: format!("{program}: {error}"), overlaid: laid.overlaid }
        }
    };
    copies_out(
        &copies.iter().map(|(path, content)| (inside_path(path, &laid.root), content.clone())).collect::<Vec<_>>(),
    );
    Ok(outcome)
}

fn inside_path(path: &Path, root: &Path) -> std::path::PathBuf {
    Path::new("/").join(path.strip_prefix(root).unwrap_or(path))
}

/// The command, or a shell that shows where one is.
fn program(spec: &Spec, root: &Path) -> Result<Vec<String>, ImageError> {
    if !spec.command.is_empty() {
        return Ok(spec.command.clone());
    }
    let tree = Tree::new(root);
    let rc = tree.resolve("/run").doing("find", "/run")?.join(SHELL_RC.trim_start_matches("/run/"));
    let prompt = spec.prompt.replace('\'', "'\\''");
    let text =
        format!("[ -f /etc/bash.bashrc ] && . /etc/bash.bashrc\n[ -f ~/.bashrc ] && . ~/.bashrc\nPS1='{prompt}'\n");
    fs::write(&rc, text).doing("write", &rc)?;
    let bash = ["/bin/bash", "/usr/bin/bash"].into_iter().find(|path| tree.is_file(path));
    Ok(match bash {
        Some(bash) => vec![bash.into(), "--rcfile".into(), SHELL_RC.into()],
        None => vec!["/bin/sh".into()],
    })
}

fn command(program: &[String], spec: &Spec) -> Command {
    let (name, arguments) = program.split_first().map_or(("/bin/sh", &[][..]), |(name, rest)| (name.as_str(), rest));
    let mut command = Command::new(name);
    command.args(arguments).env_clear().envs(spec.environment.iter().cloned()).env("PS1", &spec.prompt);
    command
}

/// Runs a program and waits for it, and for whatever ends meanwhile.
fn run(program: &[String], spec: &Spec) -> std::io::Result<u8> {
    let child = command(program, spec).spawn()?;
    let child = Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(128 + u8::try_from(signal as i32).unwrap_or(0));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs the image's exit hooks; returns what failed.
fn hooks(spec: &Spec) -> Vec<String> {
    if spec.view {
        return vec![];
    }
    let there = HOOKS.iter().filter(|hook| Path::new(hook).is_file());
    there
        .filter_map(|hook| match run(&["/bin/sh".to_owned(), (*hook).to_owned()], spec) {
            Ok(0) => None,
            Ok(code) => Some(format!("{hook} ended with code {code}")),
            Err(error) => Some(format!("{hook} could not be started: {error}")),
        })
        .collect()
}
