//! Neighbour boot: a node that is up gives its image's kernel and modules to others of its rack that are still in their firmware.
//!
//! Only where the administrator accepts it: a boot loader verifies nothing, and whoever is root on the node that gives can give
//! something else. The node itself checks every file against the signed manifest before it gives the first byte.

mod files;
mod io;

pub use files::{Files, Wanted};
pub use io::serve;
