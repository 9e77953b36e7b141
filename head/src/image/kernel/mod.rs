//! The kernels of an image: finding them, and what their configuration can do.

mod config;
mod find;

pub(super) use config::{KernelConfig, Support, common_compression};
pub(super) use find::{FoundKernel, find_kernels, read_kernel};
