//! Why the root could not be made.

use std::fmt::Display;
use std::path::Path;

use rustix::io::Errno;

/// A step that failed: what, where, why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what}: {}", explain(source))]
pub struct RootError {
    /// What was being done, with the path.
    pub what: String,
    /// Why it failed.
    pub source: Errno,
}

fn explain(error: &Errno) -> String {
    let words = match *error {
        Errno::NOSPC => "its memory is full; give the node a larger `root.size` or a smaller image",
        Errno::NODEV => "the kernel does not know this file system; is its module in the initramfs?",
        Errno::NXIO => "the loop driver is missing; is its module in the initramfs?",
        _ => return error.to_string(),
    };
    format!("{words} ({error})")
}

impl RootError {
    /// Turns an error of the system into one that says what was being done.
    pub(super) fn during(what: impl Display) -> impl FnOnce(Errno) -> Self {
        move |source| Self { what: what.to_string(), source }
    }

    /// The same for errors of the standard library.
    pub(super) fn io(what: impl Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self { what: what.to_string(), source: Errno::from_io_error(&error).unwrap_or(Errno::IO) }
    }
}

/// Makes a directory and what is missing above it.
pub(super) fn make_dir(path: &Path) -> Result<(), RootError> {
    std::fs::create_dir_all(path).map_err(RootError::io(format_args!("make the directory {}", path.display())))
}
