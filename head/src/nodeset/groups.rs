//! What `@group` stands for.

use super::set::NodeSet;

/// Why a group has no members.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// There is no such source of groups.
    #[error("{0}")]
    NoSource(String),
    /// The source has no such group.
    #[error("{0}")]
    NoGroup(String),
    /// It cannot be looked up.
    #[error("cannot look groups up: {0}")]
    Unreadable(String),
}

/// Knows all nodes and their groups.
pub trait Groups {
    /// All nodes: `@*`, and what `*` and `?` match.
    fn all(&self) -> Result<NodeSet, GroupError>;
    /// The nodes of `@group`, or of `@source:group`; a group that is a pattern means all groups that match.
    fn members(&self, source: Option<&str>, group: &str) -> Result<NodeSet, GroupError>;
}

/// Where there are none.
#[derive(Clone, Copy, Debug)]
pub struct NoGroups;

impl Groups for NoGroups {
    fn all(&self) -> Result<NodeSet, GroupError> {
        Err(GroupError::Unreadable("only names and ranges may stand here".into()))
    }
    fn members(&self, _: Option<&str>, _: &str) -> Result<NodeSet, GroupError> {
        self.all()
    }
}
