//! Images: import, build into versions, kernels, agent initramfs, listing, deletion.
//!
//! * `library`: the directory of all images, and what one version is made of.
//! * `source`: where images come from. `import`: a source becomes the tree of an image.
//! * `build`: the tree becomes an immutable, signed version.
//! * `kernel`: which kernels the tree has and what they can do.
//! * `initramfs`: the archives that the agent runs in.
//! * `loaders`: the tree's own shim and GRUB, for Secure Boot.
//! * `diff`: what two versions differ in. `syncuser`: users and groups equal to the head's.
//! * `session`: commands inside the tree.
//! * `tree`: paths as the image itself sees them.

mod build;
mod diff;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod import;
mod initramfs;
mod kernel;
mod library;
mod loaders;
mod progress;
mod session;
mod source;
mod syncuser;
mod tree;

pub use build::{BuildSettings, Built, FileEntry, FileKind, Selinux};
pub use diff::{FileChange, FileDiff, Moved, VersionDiff};
pub use error::ImageError;
pub use import::{ImportOutcome, Imported, Replace, layer_entries};
pub use initramfs::{
    ArchiveCompression, Drivers, InitramfsSettings, ModulesReport, PciId, agent_archive, token_archive, with_drivers,
};
pub use library::{ImageInfo, Library, TreeKernel, Version, VersionInfo, VersionSummary};
pub use loaders::head_loader;
pub use progress::{Progress, Silent};
pub use session::{Bind, BindMode, NodeView, SessionEnd, SessionSettings, inside};
pub use source::{
    Credentials, Descriptor, Digest, Document, DocumentError, FetchSettings, LayerCache, Origin, Platform, Source,
    SourceError,
};
pub use syncuser::{Conflict, IdChange, Plan};
