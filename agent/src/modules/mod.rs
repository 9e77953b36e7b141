//! Kernel modules by modalias, with dependencies, options and order.
//!
//! `index.rs` answers "which modules, in which order, with which options" from depmod's text files; `config.rs` reads
//! modprobe.d and the kernel command line; `load.rs` reads the files, walks sysfs and calls the kernel.

mod config;
mod index;
mod load;
mod pattern;

pub use index::{ModuleIndex, Plan, ROOT_MODULES, Source, Step};
pub use load::{Insert, LoadFailure, LoadReport, Loader, ModulesError, SystemKernel};

#[cfg(test)]
mod tests;
