//! Changes of the registry that commands on images make.

use std::process::ExitCode;

use crate::cli::Context;
use crate::cli::change::{ChangeFlags, Doing, open, save};
use crate::registry::Editor;

/// The registry, locked.
pub(super) fn open_registry(context: &Context) -> anyhow::Result<Editor> {
    open(context)
}

/// Shows, asks, saves. That the image is there, the command itself has looked; under its new name it may not have been before.
pub(super) fn save_registry(context: &Context, editor: Editor, flags: &ChangeFlags) -> anyhow::Result<ExitCode> {
    save(context, editor, &flags.forced(), Doing::plainly("image"))
}
