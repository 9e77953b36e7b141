//! `wulf-agent fetch`: the swarm without PXE, for any Linux host that holds a ticket.
//!
//! `args.rs`: what the user may say. `run.rs`: join, fetch, seed. `report.rs`: what the user is told.

mod args;
mod report;
mod run;

pub use args::FetchArgs;
pub use report::Outcome;
pub use run::run;
