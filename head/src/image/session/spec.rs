//! What the outside tells the inside, in a file that only root reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::NodeName;

use super::Bind;

/// One session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The image's tree.
    pub(super) root: PathBuf,
    /// For what is no part of it; on the same file system unless `view`.
    pub(super) scratch: PathBuf,
    /// What the host is called inside.
    pub(super) hostname: String,
    /// What is seen of the head.
    pub(super) binds: Vec<Bind>,
    /// Nothing can be changed.
    pub(super) view: bool,
    /// With this node's overlays.
    pub(super) node: Option<NodeName>,
    /// Program and arguments; none for a shell.
    pub(super) command: Vec<String>,
    /// The environment.
    pub(super) environment: Vec<(String, String)>,
    /// What a shell shows in front of a command.
    pub(super) prompt: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The command ended with this code; of a signal 128 and its number.
    Ended {
        /// The code.
        code: u8,
        /// Exit hooks that failed, and how.
        hooks: Vec<String>,
        /// Whether an overlay file system lay over the tree.
        overlaid: bool,
    },
    /// The command could not be started.
    NotStarted {
        /// Why.
        why: String,
        /// Whether an overlay file system lay over the tree.
        overlaid: bool,
    },
    /// The session could not be prepared.
    NotPrepared {
        /// Why.
        why: String,
    },
}

impl Spec {
    /// Where the inside leaves the outcome.
    pub(super) fn outcome(&self) -> PathBuf {
        self.scratch.join("outcome")
    }
}
