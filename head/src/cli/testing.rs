//! For tests of other modules: a head below a directory, and the command line run against it.

use std::path::Path;

pub(crate) use super::node::tests::{head, wulf};
use crate::exit::Ended;

/// Exit code of a command.
pub(crate) fn code(dir: &Path, args: &[&str]) -> u8 {
    match wulf(dir, args) {
        // ExitCode has no way to its number but its text.
        Ok(code) => (0..=u8::MAX).find(|number| code == std::process::ExitCode::from(*number)).unwrap(),
        Err(error) => Ended::code_of(&error) as u8,
    }
}
