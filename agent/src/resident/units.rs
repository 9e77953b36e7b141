//! Units of the running system that read what an update has changed: each is told, and one that cannot take the change says why.

use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::process::Command;

use super::ready::has_systemd;
use crate::overlay::Due;

/// Longest that one unit may take to reload.
const RELOAD: Duration = Duration::from_secs(90);
/// Longest that the journal may take.
const JOURNAL: Duration = Duration::from_secs(5);
/// Last lines of a unit's log that are told.
const LINES: usize = 5;
/// `systemctl` knows no such unit (LSB's "program is not installed", systemd.exec(5)): an overlay may name units of several
/// distributions.
const NO_SUCH_UNIT: i32 = 5;
/// Paths whose change systemd itself has to be told of.
const DIRS: [&str; 3] = ["etc/systemd/system/", "usr/lib/systemd/system/", "lib/systemd/system/"];

/// Makes systemd read its units again where one of these paths is a unit. Returns what went wrong.
pub(super) async fn reload_systemd(changed: &[String]) -> Option<(String, String)> {
    if !has_systemd() || !changed.iter().any(|path| DIRS.iter().any(|dir| path.starts_with(dir))) {
        return None;
    }
    let why = systemctl(&["daemon-reload"]).await.err()?;
    Some(("systemctl daemon-reload".into(), why.words))
}

/// Tells these units. Those that could not take the change stay in `due`. Returns each with the reason.
pub(super) async fn tell(due: &mut Vec<Due>) -> Vec<(String, String)> {
    let mut failed = vec![];
    if !has_systemd() {
        due.clear();
        return failed;
    }
    for wanted in std::mem::take(due) {
        let verb = if wanted.restart { "try-restart" } else { "try-reload-or-restart" };
        let begun = SystemTime::now();
        match systemctl(&[verb, "--", &wanted.unit]).await {
            Ok(()) => {}
            Err(why) if why.code == Some(NO_SUCH_UNIT) => tracing::debug!(unit = %wanted.unit, "there is no such unit"),
            Err(why) => {
                let words = why.words + &last_lines(&wanted.unit, begun).await;
                failed.push((format!("{verb} {}", wanted.unit), words));
                due.push(wanted);
            }
        }
    }
    failed
}

/// Why a command did not do what it was told.
#[derive(Debug)]
struct Refused {
    code: Option<i32>,
    words: String,
}

/// Runs it to its end; an exit status other than 0 is an error that says what it said.
async fn systemctl(arguments: &[&str]) -> Result<(), Refused> {
    let other = |words: String| Refused { code: None, words };
    let mut command = Command::new("systemctl");
    let output = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(RELOAD, output).await {
        Err(_) => Err(other(format!("it takes more than {} s", RELOAD.as_secs()))),
        Ok(Err(error)) => Err(other(format!("systemctl cannot be run: {error}"))),
        Ok(Ok(output)) => refusal(&output).map_or(Ok(()), Err),
    }
}

/// What a command that ended badly said, on one line.
fn refusal(output: &Output) -> Option<Refused> {
    if output.status.success() {
        return None;
    }
    let said = one_line(&String::from_utf8_lossy(&output.stderr));
    // The rest tells a person at the node where to look, and the head's administrator is none.
    let said = said.split(" | See \"").next().and_then(|said| said.split(" See \"").next()).unwrap_or_default();
    let how = output.status.code().map_or_else(|| output.status.to_string(), |code| format!("status {code}"));
    let words = if said.is_empty() { how } else { format!("{how}: {said}") };
    Some(Refused { code: output.status.code(), words })
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}

/// What the unit logged since then; nothing where there is no journal.
async fn last_lines(unit: &str, since: SystemTime) -> String {
    let since = since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager", "--output=cat", &format!("--lines={LINES}"), &format!("--since=@{since}")]);
    command.args(["--unit", unit]).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(JOURNAL, command.output()).await {
        Ok(Ok(output)) if !output.stdout.trim_ascii().is_empty() => {
            format!("; its log ends: {}", one_line(&String::from_utf8_lossy(&output.stdout)))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_ends_badly_is_told_with_its_status_and_its_words() {
        let ended = async |script| Command::new("sh").args(["-c", script]).output().await.unwrap();
        assert!(refusal(&ended("echo said >&2").await).is_none());
        let why = refusal(
            &ended("echo 'Job for x failed.'; echo 'Job for x failed.\nSee \"systemctl status x\"' >&2; exit 3").await,
        );
        let why = why.unwrap();
        assert_eq!((why.code, why.words.as_str()), (Some(3), "status 3: Job for x failed."));
        assert_eq!(refusal(&ended("exit 1").await).unwrap().words, "status 1");
        assert_eq!(one_line("a\n\n  b\n"), "a | b");
    }
}
