//! What the head knows of each boot: phases, reports, logs; status and boot report.
//!
//! * `event`: what boot services say.
//! * `input`, `machine`: pure; boot events and agents' reports become records.
//! * `record`: one boot.
//! * `view`: what people are shown. `in_use`: the versions that running nodes use.
//! * `io`: the fleet of a running head. * `ready`: the login check.

mod event;
mod in_use;
mod input;
mod io;
mod machine;
#[cfg(test)]
mod machine_tests;
mod ready;
mod record;
mod view;

pub use event::{BootEvent, BootEvents};
pub use in_use::{VersionUse, versions_in_use};
pub use input::{Input, Joined, Output};
pub use io::FleetHandle;
pub use machine::{Fleet, Unknown};
pub use ready::check_logins;
pub use record::{
    AgentUse, Anchor, Approval, BOOTS_KEPT, BootBytes, BootRecord, BootState, EventRecord, FAILURES_MAX, Failure,
    LOG_LINES_MAX, LogLine, Severity,
};
pub use view::{BootReport, ImageEgress, NodeReport, NodeStatus, PhaseStats, Traffic};
