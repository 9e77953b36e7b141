//! The command line of `wulf-agent`. Here, and not beside `main`, because `wulf man` writes its manual pages: the means to write
//! them would make every node's initramfs larger.

use clap::{Parser, Subcommand};

use crate::fetch::FetchArgs;

/// Takes part in a Wulfpack cluster: fetches an image from its peers, verifies it, serves it.
#[derive(Debug, Parser)]
#[command(name = "wulf-agent", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the agent can be told to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch an image to a file.
    Fetch(FetchArgs),
    /// Serve the image that this node booted from; started by systemd.
    Serve,
    /// Run a program inside a directory as its root; what a boot does with hooks.
    #[command(hide = true)]
    InRoot {
        /// The directory.
        root: std::path::PathBuf,
        /// The program, inside it.
        program: std::path::PathBuf,
    },
    /// Stop giving to the swarm at once, until `resume`: for the prolog of a job. Needs no head.
    Pause,
    /// Give to the swarm again, as long as the seed policy says.
    Resume,
    /// Boot this node; started by PID 1 of the initramfs.
    #[command(hide = true)]
    Boot,
}
