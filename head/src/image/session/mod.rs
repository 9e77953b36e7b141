//! Commands inside the tree of an image: in namespaces of their own, and with nothing of the head but what they are given.
//!
//! * `bind`: what of the head is seen inside. `spec`: what the outside tells the inside.
//! * `outside`: holds the image, starts the inside, waits. `inside`: the first process of the namespaces: mounts, runs, cleans up.
//! * `mounts`: what is mounted. `marks`: what an overlay file system leaves in a tree is taken away again.

mod bind;
mod inside;
mod marks;
mod mounts;
mod outside;
mod spec;

pub use bind::{Bind, BindMode};
pub use inside::{NodeView, inside};
pub use outside::{SessionEnd, SessionSettings};
