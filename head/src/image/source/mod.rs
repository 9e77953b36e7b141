//! Where images come from: registries, layouts and archives of containers, directories, tars.
//!
//! * `reference`: what an administrator writes. `document`: manifests and indexes of container images, pure.
//! * `skopeo`: the program that speaks to registries and reads archives. `auth`: who we are there.
//! * `cache`: layers by digest. `fetch`: all of it together: a source becomes layers on this head's disk.
//! * `origin`: what is remembered of it.

mod auth;
mod cache;
mod document;
mod fetch;
mod origin;
mod reference;
mod skopeo;

pub use auth::Credentials;
pub use cache::LayerCache;
pub use document::{Descriptor, Digest, Document, DocumentError, Platform};
pub use fetch::FetchSettings;
pub(super) use fetch::{Fetched, fetch, is_layout, now, resolve};
pub use origin::Origin;
pub use reference::{Source, SourceError};
