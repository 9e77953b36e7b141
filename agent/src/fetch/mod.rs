//! `wulf-agent fetch`: the swarm without PXE, for any Linux host that holds a ticket.
//!
//! * `args.rs`: what the user may say. `run.rs`: join, fetch, seed. `exit.rs`: how it can end.
//! * `cache.rs`: chunks of earlier fetches.
//! * `file.rs`: the file that is being filled, checked as a whole, and named at last.
//! * `interface.rs`: MTU and speed of the link. `progress.rs`: what the user sees meanwhile. `report.rs`: what the user is told.

mod args;
mod cache;
mod exit;
mod file;
mod interface;
mod progress;
mod report;
mod run;

pub use args::FetchArgs;
pub use exit::Exit;
pub use interface::{LinkFacts, link_towards};
pub use report::Outcome;
pub use run::run;
