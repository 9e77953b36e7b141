//! Exit codes of `wulf`: scripts tell by them what happened.

use std::fmt;
use std::process::ExitCode;

/// How a command ended. Errors without one of these end as [`Exit::Failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Ok = 0,
    /// Something, or some nodes, failed.
    Failed = 1,
    /// The command line makes no sense; clap uses the same code.
    Usage = 2,
    /// The running head cannot be reached.
    HeadUnreachable = 3,
    /// No node, image or profile matched.
    NothingMatched = 4,
    /// Time was up.
    Timeout = 124,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that decides the exit code: `return Err(Ended::new(Exit::NothingMatched, "no node matches x").into())`.
#[derive(Debug)]
pub struct Ended {
    exit: Exit,
    message: String,
}

impl Ended {
    /// Ends the command with `exit` and this message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The code that `error`, or a cause of it, asks for.
    pub fn code_of(error: &anyhow::Error) -> Exit {
        error.chain().find_map(|cause| cause.downcast_ref::<Self>()).map_or(Exit::Failed, |ended| ended.exit)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Ended {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn context_does_not_hide_the_exit_code() {
        let error: anyhow::Error = Ended::new(Exit::NothingMatched, "no such node").into();
        let error = Err::<(), _>(error).context("cannot show").unwrap_err();
        assert_eq!(Ended::code_of(&error), Exit::NothingMatched);
        assert_eq!(format!("{error:#}"), "cannot show: no such node");
        assert_eq!(Ended::code_of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
