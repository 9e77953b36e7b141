//! What the head knows of each boot: phases, reports, logs; status and boot report.

mod event;
mod record;

pub use event::{BootEvent, BootEvents};
pub use record::{
    Anchor, BOOTS_KEPT, BootBytes, BootRecord, BootState, EventRecord, FAILURES_MAX, Failure, LOG_LINES_MAX, LogLine,
    Severity,
};
