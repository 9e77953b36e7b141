//! `wulf image`.
//!
//! * `command`: the clap types, and who does what. `import`, `build`, `delete`, `session` (exec, shell), `versions`, `manage` (copy, rename, syncuser and
//!   the like): commands.
//! * `credentials`: who we are at a registry. `tables`, `bar`: what people see.

mod bar;
mod build;
mod command;
mod credentials;
mod delete;
mod import;
mod manage;
mod registry;
mod session;
mod show;
mod tables;
mod versions;

pub(crate) use build::{kept, pinned};
pub use command::ImageCommand;
