//! How long work tells that it goes on.

/// Takes the progress of one long task: stages, one after the other, each with a number of units or without.
pub trait Progress: Sync {
    /// A stage begins. `total` is in the unit that [`Progress::set`] counts; `None` where nobody can know it.
    fn stage(&self, what: &str, total: Option<u64>);
    /// So much of the stage is done.
    fn set(&self, done: u64);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _what: &str, _total: Option<u64>) {}
    fn set(&self, _done: u64) {}
}
