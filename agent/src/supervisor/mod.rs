//! PID 1: starts the child that boots the node, restarts and reports it, reaps, and becomes init.

mod io;
mod message;

pub use io::run;
pub use message::{Channel, ToSupervisor};
