//! `wulf doctor`: what is wrong with this head, and what to do about it.

use std::process::ExitCode;

use clap::Args;

use super::running::ask;
use super::{Cell, Context, OutputFormat, Style, Table, note, print};
use crate::admin::{DhcpStatus, Status};
use crate::doctor::{Check, Patient, RunningHead, State, examine};
use crate::exit::Exit;

/// Look for what is wrong with this head: configuration, files and keys, network and ports, clock, disk, programs, images, nodes; each
/// with what to do about it. Nothing is changed, and no head has to run.
#[derive(Args, Debug)]
#[command(
    after_long_help = "Exit code 0: nothing is broken (warnings may stand); 1: something is, or with --strict is doubtful."
)]
pub struct DoctorCommand {
    /// Only what is not as it should be.
    #[arg(long, short)]
    quiet: bool,
    /// Let warnings count as broken.
    #[arg(long)]
    strict: bool,
}

impl DoctorCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load_config();
        let running = if config.is_ok() { running(context) } else { None };
        let patient = Patient { path: &context.config, config: config.as_ref().map_err(ToString::to_string), running };
        let mut checks = examine(&patient);
        let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
        let count = |state: State| checks.iter().filter(|check| check.state == state).count();
        let summary = format!(
            "{} checks: {} broken, {} warnings, {} not looked at",
            checks.len(),
            count(State::Bad),
            count(State::Warning),
            count(State::Skipped)
        );
        if self.quiet {
            checks.retain(|check| check.state >= State::Warning);
        }
        print(context, &checks, || table(&checks))?;
        if context.output == OutputFormat::Table {
            note(&summary);
        }
        let failed = worst == State::Bad || (self.strict && worst == State::Warning);
        Ok(if failed { Exit::Failed } else { Exit::Ok }.into())
    }
}

fn running(context: &Context) -> Option<RunningHead> {
    let asked: anyhow::Result<(DhcpStatus, Status)> =
        ask(context, async |client| Ok((client.get("/v1/dhcp").await?, client.get("/v1/status").await?)));
    let (dhcp, status) = asked.ok()?;
    Some(RunningHead { version: status.head.version, dhcp, registry_error: status.head.registry_error })
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new(["", "what", "found"]);
    for check in checks {
        let (word, style) = match check.state {
            State::Ok => ("ok", Style::Good),
            State::Skipped => ("-", Style::Dim),
            State::Warning => ("warning", Style::Warn),
            State::Bad => ("broken", Style::Bad),
        };
        let mut lines = check.found.lines();
        let what = format!("{}: {}", check.group, check.check);
        table.row([Cell::new(word).style(style), Cell::new(what), Cell::new(lines.next().unwrap_or_default())]);
        for line in lines {
            table.row([Cell::default(), Cell::default(), Cell::new(line)]);
        }
        if let Some(fix) = &check.fix {
            table.row([Cell::default(), Cell::default(), Cell::new(format!("-> {fix}")).style(Style::Dim)]);
        }
    }
    table
}
