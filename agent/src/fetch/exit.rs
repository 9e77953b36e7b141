//! How the command can end, as exit codes.

use std::fmt;
use std::process::ExitCode;

use wulfpack_shared::net::store::StoreError;

use crate::member::{AskError, JoinError};

/// How a fetch ended. Scripts tell by the number what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The file is there, complete and checked.
    Ok = 0,
    /// Something else failed; the message says what.
    Failed = 1,
    /// The command line or the ticket makes no sense; clap uses the same code.
    Usage = 2,
    /// No head answers.
    HeadUnreachable = 3,
    /// The head turned the ticket down.
    Refused = 4,
    /// What arrived is not what the cluster signed.
    Untrusted = 5,
    /// No space for the image.
    NoSpace = 6,
    /// Time was up.
    Timeout = 124,
    /// Interrupted; the same command goes on where this one stopped.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An end with a message of its own.
#[derive(Debug)]
struct Ended {
    exit: Exit,
    why: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Ended {}

impl Exit {
    /// Ends so, with this message.
    pub(super) fn because(self, why: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Ended { exit: self, why: why.into() })
    }

    /// The exit that an error stands for.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if let Some(ended) = error.downcast_ref::<Ended>() {
            return ended.exit;
        }
        match error.downcast_ref::<JoinError>() {
            Some(JoinError::Ask(AskError::Unreachable(_))) => Self::HeadUnreachable,
            Some(JoinError::Ask(AskError::Refused(_) | AskError::Confused)) => Self::Refused,
            Some(JoinError::Ask(AskError::Time(_)) | JoinError::Manifest(_) | JoinError::Certificate(_)) => {
                Self::Untrusted
            }
            Some(JoinError::Ask(AskError::Random(_))) => Self::Failed,
            None => match error.downcast_ref::<StoreError>() {
                Some(StoreError::Full { .. }) => Self::NoSpace,
                _ => Self::Failed,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn errors_keep_their_exit_below_their_context() {
        let full = StoreError::Full { path: "/x".into(), source: std::io::ErrorKind::StorageFull.into() };
        let error = Err::<(), _>(full).context("cannot make room").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::NoSpace);
        assert_eq!(Exit::of(&Exit::Timeout.because("late").context("x")), Exit::Timeout);
        assert_eq!(Exit::of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
