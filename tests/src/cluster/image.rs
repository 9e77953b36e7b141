//! What a node has to load, in bytes.

use anyhow::{Context as _, Result};
use serde::Serialize;
use wulfpack_head::image::{ArchiveCompression, Library, agent_archive};

use crate::harness::{Head, agent_binary};

/// Sizes of the active version of an image.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ImageSizes {
    /// Root file system, chunk table and header: all that travels through the swarm.
    pub image_bytes: u64,
    /// The default kernel.
    pub kernel_bytes: u64,
    /// Its modules and firmware, and the agent.
    pub initramfs_bytes: u64,
}

impl ImageSizes {
    /// Reads them from the head's library.
    pub fn read(head: &Head, image: &str) -> Result<Self> {
        let version = Library::open(head.paths().images())?.active(&image.parse()?)?;
        let header = version.header();
        let kernel = header.kernels.first().context("the image has no kernel")?;
        let modules = version.modules(&kernel.version).context("the image has no modules archive")?;
        let modules = std::fs::read(&modules).with_context(|| format!("read {}", modules.display()))?;
        let agent = agent_archive(&agent_binary()?, ArchiveCompression::detect(&modules))?;
        let table = std::fs::metadata(version.table())?.len();
        Ok(Self {
            image_bytes: header.blob.len + table + version.signed().header.len() as u64,
            kernel_bytes: kernel.kernel.len,
            initramfs_bytes: (modules.len() + agent.len()) as u64,
        })
    }
}
