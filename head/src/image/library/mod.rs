//! The directory of all images.
//!
//! ```text
//! NAME/rootfs/                the tree, which an administrator may enter and change
//! NAME/versions/ID/           one immutable version, ID in hexadecimal:
//!     header                  the signed manifest header, encoded
//!     table                   the chunk table
//!     blob.squashfs           the image
//!     kernels/RELEASE/kernel  what a boot loader loads
//!     kernels/RELEASE/modules the archive of modules and firmware
//!     files.zst               every file with a hash of its content
//!     info.json               when, by whom, sizes, warnings: for people only
//! NAME/origin.json            where the tree came from
//! NAME/readonly               there if the tree must not change
//! NAME/scan.zst               the tree as it was last built
//! NAME/active                 link to the version that nodes boot
//! NAME/lock                   held by whoever changes something here
//! NAME/.tmp-*                 work that is not finished; what nobody works on any more is removed
//! ```
//!
//! Readers need no lock: whatever has its final name is complete.

mod files;
mod health;
mod manage;
mod moving;
mod origin;
mod version;

pub(super) use files::{ImageLock, forbid_mounts, sync};
pub use manage::{ImageInfo, Library, VersionSummary};
pub use moving::TreeKernel;
pub(super) use origin::ORIGIN;
pub(super) use version::{BLOB, FILES, HEADER, INFO, KERNEL, KERNELS, MODULES, TABLE};
pub use version::{Version, VersionInfo};
