//! What Wulfpack is measured against: the whole system as one cpio.gz that iPXE loads from nginx, as Warewulf's stable boot does.

mod archive;
mod measure;
mod server;

pub use archive::Archive;
pub use measure::{measure, patience};
pub use server::Server;
