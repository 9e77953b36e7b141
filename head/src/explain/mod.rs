//! What a machine would be told at each step of its boot, and why: answered from configuration, registry and image library with
//! the same functions that answer machines. `wulf explain` shows it.
//!
//! * `model`: what is said. * `firmware`: DHCP and boot programs. * `script`: boot script, kernel, archives, arguments.
//! * `system`: what a node gets at join. * `tell`: all of it in order.

mod firmware;
mod model;
mod script;
mod system;
mod tell;
#[cfg(test)]
mod tests;

pub use firmware::Firmware;
pub use model::{Explained, Step};
pub use tell::{Asks, Head, Machine, explain};
