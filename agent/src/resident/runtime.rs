//! The runtime overlays of the running system: fetched when the head says so or has others, applied, and their readers told.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Command;
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::wire::{ControlRequest, ControlResponse, OrderOutcome, OverlaysRequest};

use super::units;
use crate::member::ask;
use crate::overlay::{Record, Updated, known, unpack, update};
use crate::paths;
use crate::root::mounted_image;

/// While this file is there, a job runs: a prolog makes it, an epilog removes it.
const BUSY_FILE: &str = "/run/wulfpack/busy";
/// A program of the image that ends with 0 while a job runs; what it prints says which.
const BUSY_HOOK: &str = "/etc/wulfpack/busy";
/// Longest that the hook may take. One that takes longer says nothing.
const HOOK: Duration = Duration::from_secs(10);
/// Files that a message names.
const NAMED: usize = 5;

/// What keeps this node from being changed now.
pub(super) async fn job() -> Option<String> {
    if let Ok(text) = tokio::fs::read_to_string(BUSY_FILE).await {
        return Some(first_line(&text, "a job runs"));
    }
    if !Path::new(BUSY_HOOK).exists() {
        return None;
    }
    let mut command = Command::new(BUSY_HOOK);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(HOOK, output).await {
        Ok(Ok(output)) if output.status.success() => {
            Some(first_line(&String::from_utf8_lossy(&output.stdout), "a job runs"))
        }
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "{BUSY_HOOK} cannot be run");
            None
        }
        Err(_) => {
            tracing::warn!("{BUSY_HOOK} does not end");
            None
        }
    }
}

fn first_line(text: &str, otherwise: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { otherwise.to_owned() } else { line.chars().take(200).collect() }
}

/// Fetches and applies. The outcome is for the head; the record on disk says what the node runs then.
pub(super) async fn refresh(client: &ControlClient, force: bool) -> (OrderOutcome, Option<Record>) {
    if let Some(job) = job().await {
        return (OrderOutcome::Busy(job), None);
    }
    match try_refresh(client, force).await {
        Ok((updated, record)) => (outcome(&updated), Some(record)),
        Err(error) => (OrderOutcome::Failed(format!("{error:#}")), None),
    }
}

async fn try_refresh(client: &ControlClient, force: bool) -> Result<(Updated, Record)> {
    let record_file = PathBuf::from(paths::OVERLAYS);
    let file = record_file.clone();
    let looked = tokio::task::spawn_blocking(move || -> Result<_> {
        let record = Record::load(&file).context("failed to read what was applied before")?;
        let known = known(Path::new("/"), &record).map_err(io::Error::from).context("failed to look at the root")?;
        Ok((record, known))
    });
    let (mut record, mut known) = looked.await??;
    known.truncate(wulfpack_shared::limits::KNOWN_MAX);
    let pick = |answer| if let ControlResponse::Overlays(answer) = answer { Some(answer) } else { None };
    let mut answer = ask(client, ControlRequest::Overlays(OverlaysRequest { known }), pick).await?;
    let applying = tokio::task::spawn_blocking(move || -> Result<_> {
        unpack(&mut answer.bundles)?;
        let image = mounted_image().context("failed to reach the image below the root")?;
        let updated = update(Path::new("/"), Some(image.path()), &mut record, &answer.bundles, force);
        let updated = updated.map_err(io::Error::from).context("failed to open the root")?;
        // Written down before they are told: whatever ends this process now, the next update tells them.
        record.owe(&updated.reload);
        record.save(&record_file).context("failed to write down what is applied")?;
        Ok((updated, record))
    });
    let (mut updated, mut record) = applying.await??;
    relabel(&updated).await;
    updated.failed.extend(units::reload_systemd(&updated.changed).await);
    if !record.due.is_empty() {
        updated.failed.extend(units::tell(&mut record.due).await);
        record.save(Path::new(paths::OVERLAYS)).context("failed to write down which units were told")?;
    }
    Ok((updated, record))
}

/// Labels what is new as the image's own policy has it (restorecon(8)); where SELinux is off there is nothing to do.
async fn relabel(updated: &Updated) {
    if updated.changed.is_empty() || !Path::new("/sys/fs/selinux/enforce").exists() {
        return;
    }
    let paths = updated.changed.iter().map(|path| format!("/{path}")).filter(|path| Path::new(path).exists());
    let status = Command::new("restorecon").arg("--").args(paths).stdin(Stdio::null()).status().await;
    if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        tracing::warn!(?status, "the labels of changed files are not as the policy has them");
    }
}

fn named(paths: &[String]) -> String {
    let more = paths.len().saturating_sub(NAMED);
    let list = paths.iter().take(NAMED).map(|path| format!("/{path}")).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

fn outcome(updated: &Updated) -> OrderOutcome {
    let mut text = match updated.changed.len() {
        0 => "nothing to change".to_owned(),
        _ => format!("changed {}", named(&updated.changed)),
    };
    if !updated.edited.is_empty() {
        text.push_str(&format!("; edited on the node and kept: {}", named(&updated.edited)));
    }
    if updated.failed.is_empty() {
        return OrderOutcome::Done(text);
    }
    let failed = updated.failed.iter().take(NAMED).map(|(path, why)| format!("{path}: {why}"));
    OrderOutcome::Failed(format!("{}; {text}", failed.collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_told_what_changed_and_what_is_kept() {
        let mut updated = Updated { changed: vec!["etc/a".into()], ..Updated::default() };
        assert_eq!(outcome(&updated), OrderOutcome::Done("changed /etc/a".into()));
        updated.edited.push("etc/b".into());
        let OrderOutcome::Done(text) = outcome(&updated) else { panic!() };
        assert!(text.ends_with("edited on the node and kept: /etc/b"), "{text}");
        updated.failed.push(("etc/c".into(), "no space".into()));
        assert!(matches!(outcome(&updated), OrderOutcome::Failed(text) if text.starts_with("etc/c: no space")));
        assert_eq!(outcome(&Updated::default()), OrderOutcome::Done("nothing to change".into()));
        assert_eq!(first_line("job 7\nx", "y"), "job 7");
        assert_eq!(first_line("\n", "y"), "y");
    }
}
