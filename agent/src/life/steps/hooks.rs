//! Hook directories, as in Warewulf: programs that overlays bring, run inside the assembled root with the image's tools, in the order
//! of their names. One that fails stops the boot, unless its name ends in `.optional`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::mount::{UnmountFlags, mount_bind_recursive, unmount};
use tokio::process::Command;

use crate::life::context::Context;
use crate::paths;

/// Longest that one hook may take: making a file system on a large disk is slow.
const LONGEST: Duration = Duration::from_secs(600);
/// Lines of a hook's output that are told.
const LINES: usize = 50;
/// What the image's tools need.
const MOUNTS: [&str; 4] = ["dev", "proc", "sys", "run"];

/// When hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the root is final: disks are made, more files may come.
    BeforeRoot,
    /// The root is final; init is next.
    BeforeInit,
}

impl Stage {
    const fn dirs(self) -> [&'static str; 2] {
        match self {
            Self::BeforeRoot => ["etc/wulfpack/wwinit.d", "warewulf/wwinit.d"],
            Self::BeforeInit => ["etc/wulfpack/init.d", "warewulf/init.d"],
        }
    }
}

/// Programs of this stage, absolute inside the root, in the order of their names. What cannot be executed is no hook.
fn hooks(root: &Path, stage: Stage) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for dir in stage.dirs() {
        // The directory itself is looked up through links as the host has them: one that is a link is left alone.
        let place = root.join(dir);
        let Ok(entries) = fs::symlink_metadata(&place).and_then(|_| fs::read_dir(&place)) else { continue };
        for entry in entries.flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_file() && data.permissions().mode() & 0o100 != 0 {
                let name = entry.file_name();
                found.entry((name.clone(), dir)).or_insert_with(|| Path::new("/").join(dir).join(name));
            }
        }
    }
    found.into_values().collect()
}

/// Mounts that end with this.
struct Mounted<'a>(&'a Path, Vec<&'static str>);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        for name in self.1.drain(..).rev() {
            if let Err(error) = unmount(self.0.join(name), UnmountFlags::DETACH) {
                tracing::warn!(%error, name, "a mount for hooks stays");
            }
        }
    }
}

/// Runs the hooks of a stage.
pub(super) async fn run(context: &Arc<Context>, stage: Stage) -> Result<()> {
    let root = Path::new(paths::NEW_ROOT);
    let hooks = hooks(root, stage);
    if hooks.is_empty() {
        return Ok(());
    }
    let mut mounted = Mounted(root, vec![]);
    for name in MOUNTS {
        let target = root.join(name);
        fs::create_dir_all(&target).with_context(|| format!("failed to make /{name} in the root"))?;
        mount_bind_recursive(Path::new("/").join(name), &target)
            .with_context(|| format!("failed to mount /{name} in the root for hooks"))?;
        mounted.1.push(name);
    }
    for hook in hooks {
        let name = hook.display().to_string();
        context.doing(format!("hook {name}"));
        let (lines, outcome) = one(root, &hook).await;
        for line in lines {
            context.say(format!("{name}: {line}"));
        }
        match outcome {
            Ok(()) => {}
            Err(error) if name.ends_with(".optional") => {
                context.say(format!("{name} failed and is optional: {error:#}"))
            }
            Err(error) => bail!("hook {name}: {error:#}"),
        }
    }
    Ok(())
}

async fn one(root: &Path, hook: &Path) -> (Vec<String>, Result<()>) {
    let mut command = Command::new("/proc/self/exe");
    command.arg("in-root").arg(root).arg(hook).stdin(Stdio::null()).kill_on_drop(true);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    match tokio::time::timeout(LONGEST, command.output()).await {
        Err(_) => (vec![], Err(anyhow::anyhow!("it takes longer than {} s", LONGEST.as_secs()))),
        Ok(Err(error)) => (vec![], Err(error).context("it cannot be started")),
        Ok(Ok(output)) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            // The last ones say why it failed.
            let skip = lines.len().saturating_sub(LINES);
            let outcome =
                if output.status.success() { Ok(()) } else { Err(anyhow::anyhow!("it ended with {}", output.status)) };
            (lines.into_iter().skip(skip).collect(), outcome)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_run_in_the_order_of_their_names_and_only_what_can_be_executed_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str, mode| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        make("warewulf/init.d/10-a", 0o755);
        make("etc/wulfpack/init.d/20-b.optional", 0o700);
        make("warewulf/init.d/30-c", 0o755);
        make("warewulf/init.d/README", 0o644);
        make("warewulf/wwinit.d/10-x", 0o755);
        let found = hooks(dir.path(), Stage::BeforeInit);
        let expected = ["/warewulf/init.d/10-a", "/etc/wulfpack/init.d/20-b.optional", "/warewulf/init.d/30-c"];
        assert_eq!(found, expected.map(PathBuf::from));
        assert_eq!(hooks(dir.path(), Stage::BeforeRoot), [PathBuf::from("/warewulf/wwinit.d/10-x")]);
    }
}
