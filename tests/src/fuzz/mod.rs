//! What the fuzzer feeds: one function for each parser of bytes from the network. None may panic, hang or allocate beyond its
//! limit. `tests/fuzz` searches with them; `tests/tests/corpus.rs` replays what was found, mutated a little, in every run.

mod seeds;
mod targets;

pub use seeds::seeds;
pub use targets::{TARGETS, Target, run};
