//! What a person at the console sees: phases, progress, and the Rescue prompt.

mod prompt;
mod tty;

pub use prompt::{Command, HELP, Prompt, Typed};
pub use tty::{Console, Keyboard};
