//! What is wrong with a registry, so that a person can put it right.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// How many problems one message lists.
const LISTED: usize = 20;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, if known.
    pub line: Option<u64>,
    /// `node n1: network devices: default: hwaddr`, say.
    pub place: String,
    /// What is wrong there, and what to do.
    pub what: String,
    /// Another line that has to do with it, if known.
    pub see: Option<u64>,
}

impl Problem {
    /// What stays the same while lines move: by it a problem is known again in another version of the file.
    pub fn identity(&self) -> (&str, &str) {
        (&self.place, &self.what)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.what)?;
        self.see.map_or(Ok(()), |line| write!(f, " (line {line})"))
    }
}

/// All that is wrong, one a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Those that `standing` does not have.
    #[must_use]
    pub fn beyond(&self, standing: &Self) -> Self {
        let known: BTreeSet<_> = standing.0.iter().map(Problem::identity).collect();
        Self(self.0.iter().filter(|problem| !known.contains(&problem.identity())).cloned().collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return only.fmt(f);
        }
        write!(f, "{} problems", self.0.len())?;
        for problem in self.0.iter().take(LISTED) {
            write!(f, "\n  {problem}")?;
        }
        if self.0.len() > LISTED {
            write!(f, "\n  and {} more", self.0.len() - LISTED)?;
        }
        Ok(())
    }
}

/// Why a registry cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be read.
    #[error("cannot read the registry {path:?}; `wulf init` creates an empty one", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something that it must not.
    #[error("{path}: {problems}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What.
        problems: Problems,
    },
    /// It was changed by hand, is not in force because of what it says, and would be saved with it.
    #[error(
        "{path} was changed by hand and is not in force; mend it (`wulf node edit`), take it back (`wulf undo`), or save it as it is with --force: {problems}",
        path = path.display()
    )]
    NotInForce {
        /// The file.
        path: PathBuf,
        /// Why it is not in force.
        problems: Problems,
    },
    /// What was changed cannot be recorded, and so is not done.
    #[error("cannot record the change in {path:?}; the registry is unchanged", path = path.display())]
    History {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be locked.
    #[error("cannot lock the registry with {path:?}", path = path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the registry {path:?}; it is unchanged", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
