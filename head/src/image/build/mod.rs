//! The tree of an image becomes an immutable, signed version.
//!
//! * `run`: one build. `kernels`: those that can boot from it. `survey`: one walk over the tree: how large it is, which files have
//!   access control lists, and what each file is (`listing`). `excludes`: what is left out. `selinux`: labels.
//! * `squashfs`: mksquashfs. `seal`: the blob is cut, hashed and signed.

#[cfg(test)]
mod again_tests;
mod excludes;
mod kernels;
mod listing;
mod run;
mod seal;
mod selinux;
mod squashfs;
mod survey;
#[cfg(test)]
mod tests;

/// The program and version that stand in the manifest; a new one may pack differently.
const CREATED_BY: &str = concat!("wulf ", env!("CARGO_PKG_VERSION"));

pub(super) use listing::Listing;
pub use listing::{FileEntry, FileKind};
pub use run::{BuildSettings, Built};
pub use selinux::Selinux;
