//! One check.

use serde::Serialize;

/// Most names or mistakes of one kind that are listed; of more their number is told.
pub(super) const LISTED: usize = 10;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Could not be looked at, and why.
    Skipped,
    /// Works, but somebody should know of it.
    Warning,
    /// Something does not work, or will not.
    Bad,
}

/// What was looked at. The names of groups and checks are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `configuration`, `files`, `network`, `system`, `images`, `nodes`.
    pub group: &'static str,
    /// What of it.
    pub check: String,
    /// How it went.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do; nothing where all is well.
    pub fix: Option<String>,
}

/// Checks of one group.
#[derive(Debug)]
pub(super) struct Group {
    name: &'static str,
    pub(super) checks: Vec<Check>,
}

impl Group {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, checks: vec![] }
    }

    fn add(&mut self, check: impl Into<String>, state: State, found: impl Into<String>, fix: Option<String>) {
        self.checks.push(Check { group: self.name, check: check.into(), state, found: found.into(), fix });
    }

    pub(super) fn ok(&mut self, check: impl Into<String>, found: impl Into<String>) {
        self.add(check, State::Ok, found, None);
    }

    pub(super) fn skipped(&mut self, check: impl Into<String>, why: impl Into<String>) {
        self.add(check, State::Skipped, why, None);
    }

    pub(super) fn warning(&mut self, check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) {
        self.add(check, State::Warning, found, Some(fix.into()));
    }

    pub(super) fn bad(&mut self, check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) {
        self.add(check, State::Bad, found, Some(fix.into()));
    }
}

/// The first of them, and how many more there are.
pub(super) fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
