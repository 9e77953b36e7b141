//! The life of a node: `machine.rs` decides, `shell.rs` runs what it says, `steps/` does the work, one file a step.

mod boot;
mod context;
mod machine;
mod shell;
mod steps;

pub use boot::boot;
pub use context::Context;
pub use machine::{Input, Key, Life, Output, Reason, Step};
pub use steps::Membered;
