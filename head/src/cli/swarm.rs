//! `wulf swarm`: what running nodes give to each other.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use wulfpack_shared::wire::OrderKind;

use super::Context;
use super::nodes::{Guard, NODESETS, chosen_names};
use super::orders::{self, PaceFlags};

/// Commands about the swarm.
#[derive(Subcommand, Debug)]
pub enum SwarmCommand {
    /// Make running nodes stop giving to the swarm, at once, until `resume`.
    #[command(after_long_help = NODESETS)]
    Pause(NodesArgs),
    /// Let them give again, as long as their seed policy says.
    #[command(after_long_help = NODESETS)]
    Resume(NodesArgs),
}

/// Arguments of both.
#[derive(Args, Debug)]
pub struct NodesArgs {
    /// Nodes.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    /// Nodes that have not done it after so many seconds are given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    #[command(flatten)]
    guard: Guard,
}

impl SwarmCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let (args, what) = match self {
            Self::Pause(args) => (args, OrderKind::Pause),
            Self::Resume(args) => (args, OrderKind::Resume),
        };
        let nodes = chosen_names(context, &args.names)?;
        args.guard.check(context, &nodes)?;
        orders::give(context, nodes, what, PaceFlags::at_once(args.timeout))
    }
}
