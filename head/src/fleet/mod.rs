//! What the head knows of each boot: phases, reports, logs; status and boot report.

mod event;

pub use event::{BootEvent, BootEvents};
