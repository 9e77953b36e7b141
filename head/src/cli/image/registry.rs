//! Changes of the registry that commands on images make.

use std::process::ExitCode;

use crate::cli::Context;
use crate::cli::change::{ChangeFlags, nodes_file, save};
use crate::registry::Editor;

/// The registry, locked.
pub(super) fn open_registry(context: &Context) -> anyhow::Result<Editor> {
    Ok(Editor::open(&nodes_file(context)?)?)
}

/// Shows, asks, saves.
pub(super) fn save_registry(context: &Context, editor: Editor, flags: &ChangeFlags) -> anyhow::Result<ExitCode> {
    save(context, editor, *flags, false)
}
