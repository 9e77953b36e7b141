//! State that outlives the process: the `Store` trait and its redb implementation.
