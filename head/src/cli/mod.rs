//! The `wulf` command line. Each group of commands is a file: its clap types and a `run`.
//!
//! * `root`: the whole command line; parses, sets up logging, dispatches, turns errors into exit codes.
//! * `context`: options of every command.
//! * `render`: tables, JSON and YAML on standard output.

mod config;
mod context;
mod image;
mod init;
mod render;
mod root;

pub use config::ConfigCommand;
pub use context::{Context, OutputFormat};
pub use image::ImageCommand;
pub use init::InitCommand;
pub use render::{Cell, Style, Table, note, print, print_table, write_out};
pub use root::{Wulf, main};
