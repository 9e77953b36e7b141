//! A whole cluster on one host: a lab, a head with an image, and machines that are off.

mod image;
mod prepare;

pub use image::ImageSizes;
pub use prepare::{Cluster, ClusterSetup, IMAGE, is_ready};
