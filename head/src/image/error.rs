//! What can go wrong with images, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use wulfpack_shared::id::{ImageName, VersionId};
use wulfpack_shared::image::{HeaderError, TableError};

use super::source::Digest;

/// Why an operation on an image failed. Whatever it had begun is gone again.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The operating system refused.
    #[error("cannot {action} {}{}", path.display(), advice(source))]
    Io {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No such image.
    #[error("there is no image {name}; `wulf image list` shows those there are")]
    NoSuchImage {
        /// The name asked for.
        name: ImageName,
    },
    /// Import would replace an image.
    #[error("image {name} exists already; --force replaces its tree and keeps its built versions")]
    Exists {
        /// Its name.
        name: ImageName,
    },
    /// No version is active.
    #[error("image {name} has no active version; build it with `wulf image build {name}`")]
    NotBuilt {
        /// Its name.
        name: ImageName,
    },
    /// No such version.
    #[error("image {name} has no version {id:.12}; `wulf image show {name}` lists those it has")]
    NoSuchVersion {
        /// Name of the image.
        name: ImageName,
        /// The version asked for.
        id: VersionId,
    },
    /// Nodes boot from it.
    #[error("image {name} is in use by {users}; give them another image first, or repeat with --force")]
    InUse {
        /// Its name.
        name: ImageName,
        /// Who uses it.
        users: String,
    },
    /// A file system is mounted below a tree that is to be removed or packed.
    #[error("{} is mounted inside the image's tree; unmount it first", mount.display())]
    Mounted {
        /// Where.
        mount: PathBuf,
    },
    /// Neither a directory nor an archive.
    #[error("{} is neither a directory nor a tar archive (plain, .gz, .xz or .zst)", path.display())]
    NotASource {
        /// What was given.
        path: PathBuf,
    },
    /// The source contains the place it is to be copied to.
    #[error("{} contains the image library itself; import a directory that does not", path.display())]
    SourceAroundLibrary {
        /// What was given.
        path: PathBuf,
    },
    /// An archive that ends early or is no archive.
    #[error("{} cannot be read as an archive to its end", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An entry of an archive that must not be unpacked.
    #[error("the archive is refused: entry {entry:?} {why}")]
    Entry {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was imported is no root file system.
    #[error(
        "{source_name} holds no root file system: it has none of /etc, /usr and /bin (is the tree one directory further down?)"
    )]
    NotARoot {
        /// The source.
        source_name: String,
    },
    /// skopeo is not installed.
    #[error("cannot start {}; install the package skopeo", program.display())]
    NoSkopeo {
        /// What was to be started.
        program: PathBuf,
        /// Why it did not.
        source: io::Error,
    },
    /// A registry, a layout or an archive did not give the image.
    #[error("cannot import {what}: {why}")]
    Source {
        /// What was to be imported.
        what: String,
        /// Why not.
        why: String,
    },
    /// A layer is not what the manifest names.
    #[error("layer {digest} is damaged: {why}; it was removed, repeat the import to fetch it again")]
    Layer {
        /// What it should be.
        digest: Digest,
        /// What is wrong.
        why: String,
    },
    /// Somebody else changes the image.
    #[error("image {name} is being changed by {holder}; wait until that has ended")]
    Busy {
        /// Its name.
        name: ImageName,
        /// Who, as far as is known.
        holder: String,
    },
    /// Nothing can be run inside the image.
    #[error("cannot run anything inside image {name}: {why}")]
    Session {
        /// Its name.
        name: ImageName,
        /// Why not.
        why: String,
    },
    /// Files were not listed when the version was built.
    #[error("what is in version {id:.12} of image {name} is not known: an older wulf built it")]
    NoListing {
        /// The image.
        name: ImageName,
        /// The version.
        id: VersionId,
    },
    /// Users or groups of head and image contradict each other.
    #[error("users of image {name} stay as they are: {why}")]
    Users {
        /// Its name.
        name: ImageName,
        /// Why.
        why: String,
    },
    /// The image must not change.
    #[error("image {name} is read-only; `wulf image set {name} --read-only=false` lets it change")]
    ReadOnly {
        /// Its name.
        name: ImageName,
    },
    /// No kernel with its modules.
    #[error("image {name} cannot be built: {why}")]
    NoKernel {
        /// Its name.
        name: ImageName,
        /// What was found instead.
        why: String,
    },
    /// The kernel cannot mount the root.
    #[error(
        "kernel {release} cannot boot from an image, it lacks {}; install the package that holds the missing modules \
         (kernel-modules, linux-modules, …) or another kernel",
        missing.join(", ")
    )]
    KernelLacks {
        /// Its release.
        release: String,
        /// Options and modules.
        missing: Vec<String>,
    },
    /// A file that depmod or the kernel package should have made is not what it should be.
    #[error("{path} of the image cannot be used: {why}")]
    Module {
        /// Path in the image.
        path: String,
        /// Why.
        why: String,
    },
    /// mksquashfs is not installed.
    #[error("cannot start {}; install the package squashfs-tools", program.display())]
    NoMksquashfs {
        /// What was to be started.
        program: PathBuf,
        /// Why it did not.
        source: io::Error,
    },
    /// mksquashfs failed or could not read everything.
    #[error("mksquashfs did not pack the tree: {why}")]
    Mksquashfs {
        /// Its own words.
        why: String,
    },
    /// The manifest cannot be made or read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The chunk table cannot be made or read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A stored version was damaged.
    #[error("version {id:.12} of image {name} is damaged: {why}; build the image again")]
    Damaged {
        /// The image.
        name: ImageName,
        /// The version.
        id: VersionId,
        /// What is wrong.
        why: String,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free some space and repeat, nothing was changed)"
        }
        io::ErrorKind::PermissionDenied => " (image commands are for root)",
        _ => "",
    }
}

/// Adds to an IO error what was done with which file.
pub(super) trait Doing<T> {
    /// `action` is an infinitive: "create", "read".
    fn doing(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, ImageError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, ImageError> {
        self.map_err(|source| ImageError::Io { action, path: path.as_ref().to_owned(), source: source.into() })
    }
}
