//! The `wulf` command line. Each group of commands is a file: its clap types and a `run`.
//!
//! * `root`: the whole command line; parses, sets up logging, dispatches, turns errors into exit codes.
//! * `context`: options of every command.
//! * `entry`: flags that set fields of a node or a profile. `change`: shows, asks, saves.
//! * `render`: tables, JSON and YAML on standard output.

mod change;
mod config;
mod context;
mod entry;
mod image;
mod init;
mod node;
mod profile;
mod render;
mod root;

pub use config::ConfigCommand;
pub use context::{Context, OutputFormat};
pub use image::ImageCommand;
pub use init::InitCommand;
pub use node::NodeCommand;
pub use profile::ProfileCommand;
pub use render::{Cell, Style, Table, note, print, print_table, write_out};
pub use root::{Wulf, main};
