//! The `wulf-agent` binary: PID 1 of the initramfs, the worker that PID 1 starts, the service of the running node, and a
//! command for any host.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};
use wulfpack_agent::cli::{Cli, Command};
use wulfpack_agent::{fetch, life, paths, resident, supervisor};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        supervisor::run();
    }
    let cli = Cli::parse();
    if let Command::InRoot { root, program } = &cli.command {
        let error = in_root(root, program);
        // Nothing is left to do if even this cannot be said.
        let _unheard = writeln!(std::io::stderr(), "{error:#}");
        return ExitCode::FAILURE;
    }
    // Logs go to files, the journal and the head as well as to consoles: only terminals take escape sequences.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter()).init();
    let outcome = runtime().and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                Command::Fetch(args) => fetch::run(args).await,
                Command::Pause => resident::pause(Path::new(paths::CONTROL), true).await.map(|()| ExitCode::SUCCESS),
                Command::Resume => resident::pause(Path::new(paths::CONTROL), false).await.map(|()| ExitCode::SUCCESS),
                Command::Serve => resident::serve().await.map(|()| ExitCode::SUCCESS),
                Command::Boot => life::boot().await.map(|()| ExitCode::SUCCESS),
                Command::InRoot { root, program } => Err(in_root(&root, &program)),
            }
        })
    });
    outcome.unwrap_or_else(|error| {
        // Nothing is left to do if even this cannot be said.
        let _unheard = writeln!(std::io::stderr(), "wulf-agent: {error:#}");
        ExitCode::FAILURE
    })
}

/// Becomes the program, with the directory as its root. Returns only what went wrong.
fn in_root(root: &Path, program: &Path) -> anyhow::Error {
    match wulfpack_agent::root::enter(root) {
        Ok(()) => std::process::Command::new(program).exec().into(),
        Err(error) => error.into(),
    }
}

fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_env("WULF_LOG").unwrap_or_else(|_| "warn".into())
}

/// On one processor a second thread only passes wake-ups to and fro.
fn runtime() -> anyhow::Result<Runtime> {
    let alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
    let mut builder = if alone { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    Ok(builder.enable_all().build()?)
}
