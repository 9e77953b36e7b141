//! Images: import, build into versions, kernels, agent initramfs, listing, deletion.
//!
//! * `library`: the directory of all images, and what one version is made of.
//! * `source`: where images come from. `import`: a source becomes the tree of an image.
//! * `build`: the tree becomes an immutable, signed version.
//! * `kernel`: which kernels the tree has and what they can do.
//! * `initramfs`: the archives that the agent runs in.
//! * `loaders`: the tree's own shim and GRUB, for Secure Boot.
//! * `session`: commands inside the tree.
//! * `tree`: paths as the image itself sees them.

mod build;
mod error;
#[cfg(test)]
mod fixture;
mod import;
mod initramfs;
mod kernel;
mod library;
mod loaders;
mod progress;
mod session;
mod source;
mod tree;

pub use build::{BuildSettings, Built};
pub use error::ImageError;
pub use import::{ImportOutcome, Imported, Replace};
pub use initramfs::{ArchiveCompression, InitramfsSettings, ModulesReport, agent_archive, token_archive};
pub use library::{ImageInfo, Library, Version, VersionInfo, VersionSummary};
pub use loaders::head_loader;
pub use progress::{Progress, Silent};
pub use session::{Bind, BindMode, NodeView, SessionEnd, SessionSettings, inside};
pub use source::{
    Credentials, Descriptor, Digest, Document, DocumentError, FetchSettings, LayerCache, Origin, Platform, Source,
    SourceError,
};
