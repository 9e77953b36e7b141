//! What every command is handed: where the configuration is, how to print, whether to ask.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{Config, ConfigError};

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For programs; field names are stable.
    Json,
    /// For people and programs.
    Yaml,
    /// Only what names the things, one a line.
    Name,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Context {
    /// Configuration file of the head.
    #[arg(
        long,
        global = true,
        env = "WULFPACK_CONFIG",
        default_value = "/etc/wulfpack/wulfpack.yaml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// How to print results.
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Do not ask before doing what cannot be undone.
    #[arg(long, short, global = true)]
    pub yes: bool,
}

impl Context {
    /// Reads and checks the head's configuration.
    pub fn load_config(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config)
    }
}
