//! Simulations with faults: who fails when (`faults.rs`), and what must hold after every event (`checker.rs`).

mod checker;
mod faults;

pub use checker::Checker;
pub use faults::{Scenario, Story};
