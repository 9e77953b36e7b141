//! `wulf image`.
//!
//! * `command`: the clap types, and who does what. `import`, `build`, `delete`, `session` (exec, shell): commands.
//! * `credentials`: who we are at a registry. `tables`, `bar`: what people see.

mod bar;
mod build;
mod command;
mod credentials;
mod delete;
mod import;
mod session;
mod tables;

pub use command::ImageCommand;
