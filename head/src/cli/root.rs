//! The whole command line: parses, sets up logging, dispatches, turns errors into exit codes.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use super::render::colours_on;
use super::{
    BootCommand, CleanCommand, ConfigCommand, ConfigureCommand, Context, DhcpCommand, DiffCommand, DiscoverCommand,
    DoctorCommand, EventsCommand, ExplainCommand, HistoryCommand, ImageCommand, ImportCommand, InitCommand, KeyCommand,
    NodeCommand, OverlayCommand, PlanArgs, PowerCommand, ProfileCommand, SshCommand, SwarmCommand, TicketCommand,
    UndoCommand, UpgradeCommand, note, serve, write_out,
};
use crate::exit::{Ended, Exit};

/// Boots clusters whose nodes fetch their image from each other.
#[derive(Debug, Parser)]
#[command(name = "wulf", version, arg_required_else_help = true)]
pub struct Wulf {
    #[command(flatten)]
    context: Context,
    /// Log more: once for decisions, twice for every packet. `WULFPACK_LOG` sets it in detail.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(InitCommand),
    /// Run the head: boot services, control plane, swarm. In the foreground, as systemd wants it.
    Serve,
    /// What became of the nodes' boots.
    #[command(subcommand)]
    Boot(BootCommand),
    /// Whether DHCP answers, and whether it does beside another DHCP server.
    #[command(subcommand)]
    Dhcp(DhcpCommand),
    /// See machines that are not in the registry and wait to become a node.
    #[command(subcommand)]
    Discover(DiscoverCommand),
    Doctor(DoctorCommand),
    Events(EventsCommand),
    Explain(ExplainCommand),
    Ticket(TicketCommand),
    /// The keys of cluster and head.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Manage nodes.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Manage profiles: what nodes share.
    #[command(subcommand)]
    Profile(ProfileCommand),
    #[command(subcommand)]
    Power(PowerCommand),
    Ssh(SshCommand),
    /// Take over what another system has.
    #[command(subcommand)]
    Import(ImportCommand),
    Upgrade(UpgradeCommand),
    History(HistoryCommand),
    Diff(DiffCommand),
    Undo(UndoCommand),
    /// Show and check the head's configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    Clean(CleanCommand),
    #[command(subcommand)]
    Configure(ConfigureCommand),
    /// Import, build, list and remove images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// The files that make an image a certain node: show, change, push them.
    #[command(subcommand)]
    Overlay(OverlayCommand),
    Plan(PlanArgs),
    /// What running nodes give to each other: pause, resume.
    #[command(subcommand)]
    Swarm(SwarmCommand),
    /// Write the manual pages of all commands, and of `wulf-agent`, into a directory.
    Man {
        /// The directory, such as /usr/share/man/man1; it must exist.
        dir: PathBuf,
    },
    /// Print what makes a shell complete commands and the names of nodes, groups, profiles, images and overlays.
    ///
    /// bash: source <(wulf completion bash) in ~/.bashrc, or into /etc/bash_completion.d/wulf;
    /// zsh: source <(wulf completion zsh) in ~/.zshrc; fish: wulf completion fish | source in ~/.config/fish/config.fish.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Wulf {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let context = &self.context;
        match self.command {
            Command::Init(command) => command.run(context),
            Command::Serve => serve(context),
            Command::Boot(command) => command.run(context),
            Command::Dhcp(command) => command.run(context),
            Command::Discover(command) => command.run(context),
            Command::Doctor(command) => command.run(context),
            Command::Events(command) => command.run(context),
            Command::Explain(command) => command.run(context),
            Command::Ticket(command) => command.run(context),
            Command::Key(command) => command.run(context),
            Command::Node(command) => command.run(context),
            Command::Profile(command) => command.run(context),
            Command::Power(command) => command.run(context),
            Command::Ssh(command) => command.run(context),
            Command::Import(command) => command.run(context),
            Command::Upgrade(command) => command.run(context),
            Command::History(command) => command.run(context),
            Command::Diff(command) => command.run(context),
            Command::Undo(command) => command.run(context),
            Command::Config(command) => command.run(context),
            Command::Clean(command) => command.run(context),
            Command::Configure(command) => command.run(context),
            Command::Image(command) => command.run(context),
            Command::Overlay(command) => command.run(context),
            Command::Plan(args) => args.run(context),
            Command::Swarm(command) => command.run(context),
            Command::Man { dir } => {
                for program in [Self::command(), wulfpack_agent::cli::Cli::command()] {
                    clap_mangen::generate_to(program, &dir)
                        .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
                }
                Ok(Exit::Ok.into())
            }
            Command::Completion { shell } => {
                write_out(&super::complete::script(&shell.to_string())?)?;
                Ok(Exit::Ok.into())
            }
        }
    }

    /// What is logged without `WULFPACK_LOG`: a service speaks of what an operator cares for, a command only of trouble.
    const fn log_default(&self) -> &'static str {
        match self.verbose {
            0 if matches!(self.command, Command::Serve) => "info",
            0 => "warn",
            1 => "info,wulfpack_head=debug,wulfpack_shared=debug",
            _ => "debug,wulfpack_head=trace,wulfpack_shared=trace",
        }
    }
}

/// The `main` of `wulf`.
pub fn main() -> ExitCode {
    super::complete::answer_shell();
    // Clap itself prints help, version and usage errors, and ends with code 0 or 2.
    let wulf = Wulf::parse();
    start_logging(wulf.log_default());
    wulf.run().unwrap_or_else(|error| {
        note(&format!("wulf: {error:#}"));
        Ended::code_of(&error).into()
    })
}

/// Logs go to standard error: the journal for a service, the terminal for a command.
fn start_logging(default: &str) {
    let filter = EnvFilter::try_from_env("WULFPACK_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let colours = colours_on(&io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Wulf::command().debug_assert();
    }

    #[test]
    fn both_programs_have_manual_pages_and_what_nobody_types_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let wulf = Wulf::try_parse_from(["wulf", "man", dir.path().to_str().unwrap()]).unwrap();
        wulf.run().unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        assert!(page("wulf.1").contains("boot") && page("wulf-node-add.1").contains("image"));
        assert!(page("wulf-agent.1").contains("fetch") && page("wulf-agent-fetch.1").contains("ticket"));
        assert!(!dir.path().join("wulf-agent-boot.1").exists());
    }

    #[test]
    fn options_of_every_command_may_stand_behind_it() {
        let wulf = Wulf::try_parse_from(["wulf", "config", "show", "--output", "json", "--config", "/x"]).unwrap();
        assert_eq!(wulf.context.config.to_str(), Some("/x"));
    }
}
