//! What is remembered of where an image's tree came from.

use serde::{Deserialize, Serialize};
use wulfpack_shared::time::UnixTime;

use super::{Digest, Platform};

/// Where a tree came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// As the administrator wrote it.
    pub source: String,
    /// Of the manifest of the image that was taken: with it exactly the same can be had again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Of the index that named it, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// What its configuration says it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Its layers, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Digest>,
    /// When, in milliseconds since 1970.
    pub imported: UnixTime,
    /// By whom.
    pub imported_by: String,
}
