//! The `wulf` command line. Each group of commands is a file: its clap types and a `run`.

mod context;

pub use context::{Context, OutputFormat};
