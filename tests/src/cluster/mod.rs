//! A whole cluster on one host: a lab, a head with an image, and machines that are off.

mod boots;
mod hosts;
mod image;
mod measure;
mod prepare;
mod root;

pub use boots::{AGENT_MEMORY_MAX, holds, is_complete, is_ready, is_there};
pub use hosts::Hosts;
pub use image::ImageSizes;
pub use measure::{Peers, bound_s, measure};
pub use prepare::{Cluster, ClusterSetup, IMAGE};
pub use root::{RootFigures, measure_root, root_table};
