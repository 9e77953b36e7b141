//! The running system: serving, tracking, reporting, renewing, until the node goes down.
//!
//! Two processes can be resident: the worker that booted the node, until it is relieved, and the systemd service
//! (`wulf-agent serve`) that relieves it. Both do the same, and hand each other the port over `handover`.
//!
//! * `service`: the service's main loop. * `updates`: the task beside it that changes the runtime overlays (`runtime`) and tells the
//!   units that read them (`units`). * `ready`: when the system has started. * `next_boot`: the announced reboot.

mod local;
mod next_boot;
mod ready;
mod runtime;
mod service;
mod standing;
mod units;
mod updates;
mod worker;

pub use local::pause;
pub use ready::{SystemState, has_systemd, wait_for_systemd};
pub use service::serve;
pub use worker::until_relieved;
