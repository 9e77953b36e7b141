//! The worker that PID 1 starts: sets the scene, lives until the pivot, and goes on serving in the new root.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustix::rand::GetRandomFlags;
use wulfpack_shared::bootargs::BootArgs;
use wulfpack_shared::id::BootId;
use wulfpack_shared::limits::DATA_PORT;
use wulfpack_shared::wire::ReportKind;

use super::context::Context;
use super::shell::{Ended, live};
use crate::console::Console;
use crate::handover::MemberState;
use crate::paths;
use crate::report::{Queue, Reporter};
use crate::resident;
use crate::supervisor::Channel;

/// Runs as the supervisor's child.
pub async fn boot() -> Result<()> {
    let console = Console::open();
    let command_line = fs::read_to_string("/proc/cmdline").context("failed to read /proc/cmdline")?;
    // A bad argument must not stop the console from saying so: the first step fails with the reason, again and again.
    let said = adopted_args(&command_line);
    let (args, bad_args) = match said.parse::<BootArgs>() {
        Ok(args) => (args, None),
        Err(error) => (BootArgs::default(), Some(error)),
    };
    let mut private = fs::DirBuilder::new();
    private
        .recursive(true)
        .mode(0o700)
        .create(paths::PRIVATE)
        .with_context(|| format!("failed to make {}", paths::PRIVATE))?;
    let state = own_state(&args, &console)?;
    let (boot, next, waiting) = (state.boot, state.next_event, state.events.clone());
    let ended = std::env::var("WULF_ENDED").ok();
    let queue = if ended.is_some() { Queue::resume_after_death } else { Queue::resume }(boot, next, waiting);
    let context = Context::new(args, bad_args, command_line, console, Reporter::new(queue), state);
    context.save();
    if let Some(how) = ended {
        context.tell(ReportKind::Restarted { how });
    }
    let mut channel = Some(Channel::from_stdin().context("failed to reach the supervisor")?);
    match live(&context, &mut channel).await? {
        Ended::Pivoted => after_pivot(context).await,
        Ended::GoingDown => Ok(()),
    }
}

/// The arguments that count: of a machine that was adopted in this boot those of the node.
fn adopted_args(command_line: &str) -> String {
    fs::read_to_string(paths::ADOPTED).unwrap_or_else(|_| command_line.to_owned())
}

/// The state that an earlier worker of this boot left, or that of a new boot.
fn own_state(args: &BootArgs, console: &Console) -> Result<MemberState> {
    match MemberState::load(Path::new(paths::STATE)) {
        Ok(Some(state)) => return Ok(state),
        Ok(None) => {}
        Err(error) => console.line(&format!("{error}; starting anew")),
    }
    let mut boot = BootId::default();
    // Nothing secret, so nothing to wait for: a machine without a source of random numbers would hang here in silence.
    rustix::rand::getrandom(&mut boot.0, GetRandomFlags::INSECURE).context("failed to ask for random numbers")?;
    Ok(MemberState::new(boot, args.heads.clone(), args.cluster.clone(), DATA_PORT))
}

/// This process still sees the initramfs, which is empty now: step into the root that everybody else sees.
async fn after_pivot(context: Arc<Context>) -> Result<()> {
    let (root, membered) = {
        let mut left = context.left();
        (left.rooted.take().map(|rooted| rooted.new_root), left.membered.take())
    };
    let root: OwnedFd = root.context("the pivot came without a root")?;
    rustix::process::fchdir(&root).context("failed to enter the new root")?;
    rustix::process::chroot(".").context("failed to make the new root this process's root")?;
    let membered = membered.context("the pivot came without a membership")?;
    context.save();
    resident::until_relieved(membered, &context).await
}
