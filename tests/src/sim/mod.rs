//! Simulations with faults: who fails when (`faults.rs`), and what must hold after every event (`checker.rs`) and of all that was
//! carried (`audit.rs`); many of them by seed (`play.rs`); the rows of the figures (`rows.rs`);
//! the check of a trace (`trace_check.rs`).

mod audit;
mod checker;
mod faults;
mod play;
mod rows;
mod trace_check;

pub use audit::{Audit, Plant};
pub use checker::Checker;
pub use faults::{Scenario, Story};
pub use play::{kept_seeds, play, try_seed, try_seeds};
pub use rows::{Goal, Measured, Row, measure, rows};
pub use trace_check::{Checked, check_trace};
