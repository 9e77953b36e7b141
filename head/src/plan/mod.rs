//! What a cluster would do: the real engine and the head's tracker on simulated links, in virtual time.
//!
//! * `units.rs`: sizes, rates, times and shares as people write them. `fail.rs`: what is to go wrong.
//! * `setup.rs`: the cluster that is asked about. `run.rs`: runs it. `figures.rs`: what came of it.
//! * `tracker.rs`: the tracker in the simulation. `trace.rs`: every transfer, for a checker.

mod fail;
mod figures;
mod run;
mod setup;
mod trace;
mod tracker;
mod units;

pub use fail::{Fail, When, Who};
pub use figures::{BootBytes, Figures, Http};
pub use run::{PlanError, Watch, run};
pub use setup::{Setup, Slow};
pub use trace::{TRACE_FORMAT, TraceHeader, TraceWriter};
pub use tracker::HeadTracker;
pub use units::{Rate, Share, Size, Span, UnitError};

#[cfg(test)]
mod tests;
