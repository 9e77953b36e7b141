//! What the boot service serves, as it is handed to it. All of these may read files: they are called where blocking is allowed.

use core::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wulfpack_shared::id::{Hash, Mac, NodeName, VersionId};
use wulfpack_shared::image::Header;

use crate::boot::{InitramfsFormat, SignedLoader};
use crate::registry::{ImageRef, Node};

/// A version that a node boots.
#[derive(Clone, Debug)]
pub struct BootVersion {
    /// Its id.
    pub id: VersionId,
    /// Its header, verified.
    pub header: Arc<Header>,
}

/// A file of a version that boot loaders load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VersionFile {
    /// The kernel.
    Kernel,
    /// Modules and firmware, as an initramfs archive.
    Modules,
}

impl VersionFile {
    /// Its name in URLs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Modules => "modules",
        }
    }

    /// The file with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Kernel, Self::Modules].into_iter().find(|file| file.name() == name)
    }
}

/// Image versions.
pub trait Versions: Send + Sync + fmt::Debug {
    /// The version that `image` resolves to now: the pinned one, else the active one. Errors are for a person.
    fn active(&self, image: &ImageRef) -> Result<BootVersion, String>;

    /// Any image that has a version: what unknown machines boot where no node says more.
    fn any(&self) -> Option<ImageRef> {
        None
    }

    /// A file of any version that is kept; `None` if there is no such version, kernel or file. The service caches it.
    fn read(&self, version: VersionId, release: &str, file: VersionFile) -> Result<Option<Vec<u8>>, String>;

    /// The signed boot loader for machines with this image: the image's own, else the head's. Errors are for a person.
    fn signed_loader(&self, image: Option<&ImageRef>, loader: SignedLoader) -> Result<Bytes, String>;
}

/// Join tokens.
pub trait Tokens: Send + Sync + fmt::Debug {
    /// The token of this boot of this node, as an initramfs archive; the same bytes while the same boot asks again. The archive is
    /// plain cpio, and its length a multiple of four, so that the kernel sees the archive behind it. `shown` is how long ago the
    /// machine showed that it boots, where it did; once a node has joined after that, its token is spent, and the error says so.
    fn token(&self, node: &NodeName, mac: Mac, shown: Option<Duration>) -> Result<Vec<u8>, String>;

    /// The token with which a machine that no node is tells what it is, as such an archive. `trusted`: its network demands no
    /// administrator's word; `runs`: hash of what it boots.
    fn discovery(&self, _mac: Mac, _shown: Option<Duration>, _trusted: bool, _runs: Hash) -> Result<Vec<u8>, String> {
        Err("discovery is off".into())
    }

    /// Somebody at `from` asked for the token of this node and did not get it; administrators are told.
    fn refused(&self, node: &NodeName, from: IpAddr, why: &str);

    /// Whether an administrator has approved this boot, where tokens are given only on approval. If not, administrators are shown
    /// that the machine at `from` waits; the error says the same to whoever stands before it.
    fn approved(&self, node: &NodeName, mac: Mac, from: IpAddr) -> Result<(), String>;
}

/// Nodes that are up and give kernel and modules to others of their rack.
pub trait Neighbours: Send + Sync + fmt::Debug {
    /// Up to three for this node, which is to boot this version, with addresses of one family.
    fn of(&self, node: &Node, version: VersionId, six: bool) -> Vec<SocketAddr>;
}

/// The agent's initramfs archive.
pub trait AgentArchive: Send + Sync + fmt::Debug {
    /// The archive of the agent as it is installed now. It is asked for at each boot and should keep what it has packed.
    fn archive(&self, format: InitramfsFormat) -> Result<Bytes, String>;
}
