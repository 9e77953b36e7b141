//! Stepping the clock, and mixing entropy.

mod io;
mod offset;

pub use io::{Step, mix_entropy, step_if_off};
pub use offset::CLOCK_MAX_OFF;
