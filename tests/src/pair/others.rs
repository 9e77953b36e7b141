//! What else moves a file from one process to another.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::contest::{Measured, PairContest, word_after};
use crate::harness::{Process, repo_dir};

const PATIENCE: Duration = Duration::from_secs(600);

/// nginx and curl.
pub(super) fn web(contest: &PairContest) -> Result<Measured> {
    let (dir, port) = (contest.dir(), TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let work = dir.join("nginx");
    fs::create_dir_all(&work)?;
    let (here, root) = (work.display(), dir.display());
    let paths =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {here};\n")).concat();
    let config = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {here}/pid;\nerror_log {here}/error.log;\nevents {{ }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on;\n{paths}\
         server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    );
    fs::write(work.join("nginx.conf"), config)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(work.join("nginx.conf"));
    let server =
        Process::start("nginx", command, &work.join("log")).context("nginx; Debian's package nginx-light has it")?;
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        anyhow::ensure!(Instant::now() < deadline && server.status().is_none(), "nginx: {}", server.console().tail(5));
        std::thread::yield_now();
    }
    let before = server.group_cpu_seconds()?;
    // curl ends when it is done: the shell's `times` says what its children used.
    let mut command = Command::new("sh");
    let url = format!("http://127.0.0.1:{port}/blob");
    let script = "curl -sSf -o \"$1\" -w 'done %{time_total} %{size_download}\\n' \"$2\" && times && echo end && cat";
    command.args(["-c", script, "sh"]).arg(dir.join("received")).arg(url);
    let client = Process::start("curl", command, &work.join("curl.log"))?;
    client.console().wait_for("end\n", PATIENCE)?;
    let seconds = word_after(&client, "done ")?;
    let receive_cpu = children_seconds(&client.console().text()).context("the shell's times")?;
    let peak_rss = server.peak_rss()?;
    let measured =
        Measured { seconds: seconds.parse()?, send_cpu: server.group_cpu_seconds()? - before, receive_cpu, peak_rss };
    drop((client, server));
    contest.tidy_up()?;
    Ok(measured)
}

/// iroh-blobs, by a program that is built apart from the workspace.
pub(super) fn iroh(contest: &PairContest) -> Result<Measured> {
    let program = repo_dir().join("tests/iroh/target/release/iroh-pair");
    let how = "cargo build --release --manifest-path tests/iroh/Cargo.toml";
    anyhow::ensure!(program.is_file(), "iroh-blobs is not built: run {how}");
    let (received, dir) = (contest.dir().join("received"), contest.dir());
    let end = |role: &str, file: &Path, ticket: Option<&str>| {
        let store = dir.join(format!("iroh-{role}"));
        fs::create_dir_all(&store)?;
        let mut command = Command::new(&program);
        command.arg(role).arg(file).arg(store).args(ticket);
        Process::start(role, command, &dir.join(format!("iroh-{role}.log")))
    };
    let sender = end("send", &contest.dir().join("blob"), None)?;
    let ticket = word_after(&sender, "ready ")?;
    let receiver = end("receive", &received, Some(&ticket))?;
    receiver.console().wait_for("begun", PATIENCE)?;
    let before = (sender.cpu_seconds()?, receiver.cpu_seconds()?);
    let done = word_after(&receiver, "done ")?;
    let measured = Measured {
        seconds: done.parse().with_context(|| format!("read {done:?}"))?,
        send_cpu: sender.cpu_seconds()? - before.0,
        receive_cpu: receiver.cpu_seconds()? - before.1,
        peak_rss: sender.peak_rss()?.max(receiver.peak_rss()?),
    };
    drop((receiver, sender));
    for role in ["send", "receive"] {
        fs::remove_dir_all(dir.join(format!("iroh-{role}")))?;
    }
    contest.tidy_up()?;
    Ok(measured)
}

/// CPU seconds of a shell's children: the last line of `times`, as `0m0.10s 0m0.52s`.
fn children_seconds(text: &str) -> Option<f64> {
    let line = text.lines().rev().find(|line| line.contains('m') && line.ends_with('s'))?;
    line.split_whitespace()
        .map(|part| {
            let (minutes, seconds) = part.strip_suffix('s')?.split_once('m')?;
            Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_says_what_its_children_used() {
        assert_eq!(children_seconds("done 1 2\n0m0.00s 0m0.01s\n1m0.50s 0m0.25s\nend\n"), Some(60.75));
    }
}
