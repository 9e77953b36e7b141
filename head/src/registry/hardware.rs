//! What the registry says of a node's management controller and disks, resolved.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

/// A text that is neither printed, nor logged, nor serialised by accident: what needs it asks for it by [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the management controller, and for files of mode 0600.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

/// The management controller of a node: its `ipmi:` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Controller {
    /// User.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Address.
    pub ip: Option<IpAddr>,
    /// Length of its network prefix in bits.
    pub prefix: Option<u8>,
    /// Gateway.
    pub gateway: Option<IpAddr>,
    /// UDP port; `None` means 623.
    pub port: Option<u16>,
    /// `lan`, `lanplus`, ….
    pub interface: Option<String>,
    /// Escape character of the console.
    pub escapechar: Option<String>,
    /// Whether the node writes these settings into its controller.
    pub write: bool,
    /// Template of the commands.
    pub template: Option<String>,
    /// For templates.
    pub tags: BTreeMap<String, String>,
}

/// How a disk is to be partitioned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskLayout {
    /// Whether its partition table is cleared first.
    pub wipe_table: bool,
    /// Partitions by label.
    pub partitions: BTreeMap<String, DiskPartition>,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskPartition {
    /// Number; 0 or `None` means the next free one.
    pub number: Option<u32>,
    /// Size in MiB; `None` means all that is left.
    pub size_mib: Option<u64>,
    /// Start in MiB.
    pub start_mib: Option<u64>,
    /// GPT type.
    pub type_guid: Option<String>,
    /// GPT partition id.
    pub guid: Option<String>,
    /// Whether one that does not match is replaced.
    pub wipe_partition_entry: bool,
    /// Whether it has to exist; default yes.
    pub should_exist: bool,
    /// Whether it is resized if it does not match.
    pub resize: bool,
}

/// A file system on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskFileSystem {
    /// `ext4`, `swap`, ….
    pub format: Option<String>,
    /// Mount point.
    pub path: Option<String>,
    /// Whether it is made anew at boot.
    pub wipe_filesystem: bool,
    /// Label.
    pub label: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
    /// Options of mkfs.
    pub options: Vec<String>,
    /// Mount options.
    pub mount_options: Vec<String>,
}
