//! `wulf overlay`: the files that make an image a certain node.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use wulfpack_shared::wire::OrderKind;

use super::Context;
use super::nodes::{Guard, NODESETS, chosen_names};
use super::orders::{self, PaceFlags};

/// Commands about overlays.
#[derive(Subcommand, Debug)]
pub enum OverlayCommand {
    /// Make running nodes fetch their runtime overlays and apply what has changed.
    #[command(after_long_help = NODESETS)]
    Push(PushArgs),
}

/// Arguments of `wulf overlay push`.
#[derive(Args, Debug)]
pub struct PushArgs {
    /// Nodes.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    /// Replace files that were edited on the node, too.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pace: PaceFlags,
    #[command(flatten)]
    guard: Guard,
}

impl OverlayCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Push(args) => args.run(context),
        }
    }
}

impl PushArgs {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let nodes = chosen_names(context, &self.names)?;
        self.guard.check(context, &nodes)?;
        orders::give(context, nodes, OrderKind::Overlay { force: self.force }, self.pace)
    }
}
