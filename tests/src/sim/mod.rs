//! Simulations with faults: who fails when (`faults.rs`), and what must hold after every event (`checker.rs`) and of all that was
//! carried (`audit.rs`);
//! the head's own tracker in it (`tracker.rs`).

mod audit;
mod checker;
mod faults;
mod tracker;

pub use audit::{Audit, Plant};
pub use checker::Checker;
pub use faults::{Scenario, Story};
pub use tracker::HeadTracker;
