//! Starts commands, so many at a time, and ends those whose time is over.

use std::ffi::OsString;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;

use crate::registry::Secret;

/// Most output of one node that is kept; the rest is read and dropped. Bytes.
const OUTPUT_MAX: u64 = 4 * 1024 * 1024;

/// One command.
#[derive(Clone, Debug)]
pub struct Job {
    /// The node that it is about.
    pub node: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// An environment variable that only it sees, with a secret.
    pub secret: Option<(String, Secret)>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// With this code.
    Exit(i32),
    /// By a signal.
    Killed,
    /// Its time was over.
    Timeout,
    /// It never began.
    NotStarted(String),
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The node.
    pub node: String,
    /// How it ended.
    pub status: Status,
    /// What it wrote to standard output and standard error, in this order.
    pub output: Vec<u8>,
}

/// Runs all, `width` at a time, and hands each outcome to `done` as it comes.
pub async fn fan_out(jobs: Vec<Job>, width: usize, limit: Option<Duration>, mut done: impl FnMut(Outcome)) {
    let mut running = stream::iter(jobs).map(|job| run(job, limit)).buffer_unordered(width.max(1));
    while let Some(outcome) = running.next().await {
        done(outcome);
    }
}

async fn run(job: Job, limit: Option<Duration>) -> Outcome {
    let Job { node, command, secret } = job;
    let failed = |node: String, why: String| Outcome { node, status: Status::NotStarted(why), output: vec![] };
    let Some((program, arguments)) = command.split_first() else { return failed(node, "no command".into()) };
    // One pipe for both, so that what was said first stands first.
    let pipe = std::io::pipe().and_then(|(reader, writer)| Ok((reader, writer.try_clone()?, writer)));
    let (mut reader, out, err) = match pipe {
        Ok(pipe) => pipe,
        Err(error) => return failed(node, error.to_string()),
    };
    let mut process = tokio::process::Command::new(program);
    process.envs(secret.iter().map(|(variable, secret)| (variable, secret.expose())));
    process.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(true);
    let child = process.spawn();
    // Our own ends of the pipe: as long as they are open it has no end.
    drop(process);
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return failed(node, format!("{}: {error}", program.display())),
    };
    let reading = tokio::task::spawn_blocking(move || {
        let mut output = vec![];
        let read = reader.by_ref().take(OUTPUT_MAX).read_to_end(&mut output);
        // What was read until then counts, also where reading fails.
        drop(read.and_then(|_| std::io::copy(&mut reader, &mut std::io::sink())));
        output
    });
    let wait = child.wait();
    let ended = match limit {
        Some(limit) => tokio::time::timeout(limit, wait).await,
        None => Ok(wait.await),
    };
    let status = match ended {
        Ok(Ok(status)) => status.code().map_or(Status::Killed, Status::Exit),
        Ok(Err(error)) => Status::NotStarted(error.to_string()),
        Err(_) => {
            // It may have ended in this moment: then there is nothing to end.
            drop(child.kill().await);
            Status::Timeout
        }
    };
    // What the command left running may hold the pipe open: after its time nobody waits for that.
    let output = match status {
        Status::Timeout => tokio::time::timeout(Duration::from_secs(1), reading).await.ok().and_then(Result::ok),
        _ => reading.await.ok(),
    };
    Outcome { node, status, output: output.unwrap_or_default() }
}
