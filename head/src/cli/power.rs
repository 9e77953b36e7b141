//! `wulf power`, `wulf node console` and `wulf node sensors`: what nodes' management controllers do.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::nodes::{Guard, NODESETS, chosen_names, no_such_nodes};
use super::ssh::{end, row};
use super::{Cell, Context, OutputFormat, Style, Table, print, write_out};
use crate::exit::{Ended, Exit};
use crate::power::{Action, Templates};
use crate::registry::{Node, Registry};
use crate::remote::{Job, Outcome, Status, fan_out, gather};

/// Switch nodes on and off by their management controllers (`ipmi:` of the registry), many at a time.
#[derive(Debug, Subcommand)]
pub enum PowerCommand {
    /// Switch on.
    #[command(after_long_help = NODESETS)]
    On(PowerArgs),
    /// Switch off at once.
    #[command(after_long_help = NODESETS)]
    Off(PowerArgs),
    /// Off and on again.
    #[command(after_long_help = NODESETS)]
    Cycle(PowerArgs),
    /// Reset without switching off.
    #[command(after_long_help = NODESETS)]
    Reset(PowerArgs),
    /// Ask the operating system to shut down.
    #[command(after_long_help = NODESETS)]
    Soft(PowerArgs),
    /// Whether they are on.
    #[command(after_long_help = NODESETS)]
    Status(PowerArgs),
}

/// Arguments of every command that asks controllers.
#[derive(Args, Debug)]
pub struct PowerArgs {
    /// Nodes.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    /// Controllers at a time.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    fanout: u16,
    /// Seconds that each may take.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    timeout: u16,
    /// Show which commands would be run, and run none. No password is in them.
    #[arg(long, alias = "show")]
    dry_run: bool,
    #[command(flatten)]
    guard: Guard,
}

/// Arguments of `wulf node sensors`.
#[derive(Args, Debug)]
pub struct SensorsArgs {
    #[command(flatten)]
    power: PowerArgs,
    /// With limits and all values.
    #[arg(long, short = 'F')]
    full: bool,
}

/// Arguments of `wulf node console`.
#[derive(Args, Debug)]
pub struct ConsoleArgs {
    /// Node.
    #[arg(value_name = "NODE")]
    node: String,
    /// Show which command would be run, and run none.
    #[arg(long)]
    dry_run: bool,
}

impl PowerCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::On(args) => args.run(context, Action::On),
            Self::Off(args) => args.run(context, Action::Off),
            Self::Cycle(args) => args.run(context, Action::Cycle),
            Self::Reset(args) => args.run(context, Action::Reset),
            Self::Soft(args) => args.run(context, Action::Soft),
            Self::Status(args) => args.run(context, Action::Status),
        }
    }
}

impl SensorsArgs {
    /// Runs it.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        self.power.run(context, if self.full { Action::SensorsFull } else { Action::Sensors })
    }
}

fn nodes(context: &Context, names: &[String]) -> anyhow::Result<Vec<Arc<Node>>> {
    let chosen = chosen_names(context, names)?;
    let snapshot = Registry::load(&context.load_config()?.paths.nodes_file())?.resolve();
    let missing: Vec<&str> =
        chosen.iter().filter(|name| snapshot.node(name).is_none()).map(|name| name.as_str()).collect();
    if !missing.is_empty() {
        return Err(no_such_nodes("node", &missing));
    }
    Ok(chosen.iter().filter_map(|name| snapshot.node(name).cloned()).collect())
}

impl PowerArgs {
    fn run(&self, context: &Context, action: Action) -> anyhow::Result<ExitCode> {
        let nodes = nodes(context, &self.names)?;
        let templates = Templates::new(&context.load_config()?.paths.etc);
        let (mut jobs, mut outcomes, mut files) = (vec![], vec![], vec![]);
        for node in &nodes {
            let name = node.name.to_string();
            match templates.call(node, action) {
                Ok(call) => {
                    // It holds the password until all have ended.
                    files.extend(call.file);
                    let command = call.command.into_iter().map(Into::into).collect();
                    jobs.push(Job { node: name, command, secret: call.secret });
                }
                Err(error) => {
                    outcomes.push(Outcome {
                        node: name,
                        status: Status::NotStarted(error.to_string()),
                        output: vec![],
                    });
                }
            }
        }
        if self.dry_run {
            let line = |job: &Job| {
                let words: Vec<_> = job.command.iter().map(|word| word.to_string_lossy()).collect();
                format!("{}: {}\n", job.node, words.join(" "))
            };
            write_out(&jobs.iter().map(line).collect::<String>())?;
            write_out(&gather(&outcomes))?;
            return end(&outcomes);
        }
        if action.disturbs() || action == Action::On {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            self.guard.check(context, &names)?;
        }
        let limit = Some(Duration::from_secs(self.timeout.into()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(fan_out(jobs, self.fanout.into(), limit, |outcome| outcomes.push(outcome)));
        // What a program left behind may still hold a pipe: nobody waits for it.
        runtime.shutdown_background();
        drop(files);
        outcomes.sort_by(|a, b| a.node.cmp(&b.node));
        match context.output {
            OutputFormat::Table if action == Action::Status => super::print_table(&states(&outcomes))?,
            OutputFormat::Table | OutputFormat::Name => write_out(&gather(&outcomes))?,
            _ => print(context, &outcomes.iter().map(row).collect::<Vec<_>>(), Table::pairs)?,
        }
        end(&outcomes)
    }
}

/// Whether each is on, as far as what was said tells it.
fn states(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(["node", "power"]);
    for outcome in outcomes {
        let said = String::from_utf8_lossy(&outcome.output).trim().to_owned();
        let last = said.rsplit(char::is_whitespace).next().unwrap_or_default().to_lowercase();
        let cell = match (&outcome.status, last.as_str()) {
            (Status::Exit(0), "on") => Cell::new("on").style(Style::Good),
            (Status::Exit(0), "off") => Cell::new("off").style(Style::Dim),
            (Status::Exit(0), _) => Cell::new(said),
            (Status::Timeout, _) => Cell::new("no answer in time").style(Style::Bad),
            (Status::NotStarted(why), _) => Cell::new(why).style(Style::Bad),
            _ => Cell::new(said).style(Style::Bad),
        };
        table.row([outcome.node.as_str().into(), cell]);
    }
    table
}

impl ConsoleArgs {
    /// Runs it: the terminal is the console's until it is left.
    pub(super) fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let nodes = nodes(context, std::slice::from_ref(&self.node))?;
        let [node] = nodes.as_slice() else {
            return Err(Ended::new(Exit::Usage, "a console is that of one node").into());
        };
        let call = Templates::new(&context.load_config()?.paths.etc).call(node, Action::Console)?;
        if self.dry_run {
            write_out(&format!("{}\n", call.command.join(" ")))?;
            return Ok(Exit::Ok.into());
        }
        let (program, words) = call.command.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(words).envs(call.secret.iter().map(|(variable, secret)| (variable, secret.expose())));
        let status = command.status().with_context(|| format!("cannot start {program}"))?;
        Ok(if status.success() { Exit::Ok } else { Exit::Failed }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_from_what_ipmitool_says() {
        let outcome = |node: &str, status, text: &str| Outcome { node: node.into(), status, output: text.into() };
        let outcomes = [
            outcome("n1", Status::Exit(0), "Chassis Power is on\n"),
            outcome("n2", Status::Exit(0), "Chassis Power is off\n"),
            outcome("n3", Status::Exit(1), "Error: Unable to establish IPMI v2 / RMCP+ session\n"),
            outcome("n4", Status::Timeout, ""),
        ];
        let text = states(&outcomes).render(false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..3], ["n1    on", "n2    off"]);
        assert!(lines[3].contains("Unable to establish") && lines[4].contains("no answer in time"), "{text}");
    }
}
