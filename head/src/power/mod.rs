//! Management controllers: power, consoles and sensors, by the programs that speak to them.
//!
//! * `action`: what is wanted. `template`: how a controller is told, as words of a program. `job`: the command for one node.

mod action;
mod job;
mod template;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use job::{Call, PowerError, Templates};
