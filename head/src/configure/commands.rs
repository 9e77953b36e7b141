//! Programs that are run so that what was written counts.

use std::io;
use std::process::{Command, Stdio};

use serde::Serialize;

/// A program with its arguments; none of them is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Program and arguments.
    pub command: Vec<String>,
    /// What it does.
    pub why: String,
}

impl Run {
    /// This command, and what it does.
    pub fn new<const N: usize>(command: [&str; N], why: &str) -> Self {
        Self { command: command.map(str::to_owned).into(), why: why.to_owned() }
    }

    /// As a person would type it.
    pub fn line(&self) -> String {
        let word = |word: &String| if word.is_empty() { "''".to_owned() } else { word.clone() };
        self.command.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// Runs it.
    ///
    /// # Errors
    /// It is not installed, or says that it failed; the text is its own.
    pub fn run(&self) -> io::Result<()> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.line())))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{}: {} {}", self.line(), output.status, said.trim())))
    }
}
