//! Users and groups of an image made equal to the head's by name, as Warewulf's syncuser does: files on shared file systems then
//! belong to the same people everywhere.
//!
//! * `plan`: what would change, from the four files' texts alone. `write`: changing it.

mod plan;
mod write;

pub use plan::{Conflict, IdChange, Plan};
