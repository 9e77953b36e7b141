//! `wulf config`: the head's configuration.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Context, write_out};
use crate::config::{Config, DEFAULT_YAML};
use crate::exit::Exit;

/// Show and check the head's configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the configuration in force, defaults included, as YAML.
    Show,
    /// Check the configuration file.
    Check,
    /// Print the documented default configuration.
    Default,
    /// Print the JSON Schema of the configuration file.
    Schema,
}

impl ConfigCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let text = match self {
            Self::Show => serde_saphyr::to_string(&context.load_config()?)?,
            Self::Check => {
                context.load_config()?;
                format!("{}: ok\n", context.config.display())
            }
            Self::Default => DEFAULT_YAML.to_owned(),
            Self::Schema => format!("{:#}\n", serde_json::to_value(schemars::schema_for!(Config))?),
        };
        write_out(&text)?;
        Ok(Exit::Ok.into())
    }
}
