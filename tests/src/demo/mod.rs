//! The demo: machines that know nothing are switched on, and end at a login prompt.

mod live;
mod report;
mod run;

pub use report::{NodeReport, Report};
pub use run::{Firmwares, Options, run};
