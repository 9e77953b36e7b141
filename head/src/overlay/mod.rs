//! Overlays: templates rendered for one node at request time.
//!
//! An overlay is a directory `NAME/rootfs/…` with an optional `NAME/overlay.yaml`. A file whose name ends in `.j2` is a
//! minijinja template (the suffix goes away), every other file is taken as it is. Where the name of a template has `@net@` in
//! it, it is rendered once for each interface of the node, which it sees as `interface`. A template that renders to nothing
//! but white space makes no file. A site's overlay hides the shipped one of the same name.
//!
//! Templates see `node`, `nodes`, `hosts`, `cluster`, `ssh`, `agent` and `overlay`; they reach no environment variable and
//! no file outside their overlay, an undefined name is an error, and a value with a line break cannot be printed: no field of
//! the registry can add a line to a file.
//!
//! * `source`: reading overlays from directories, or from what is built in (`shipped`).
//! * `rules`: `overlay.yaml`.
//! * `facts`: what templates see of the cluster.
//! * `template`: the environment that templates run in.
//! * `render`: a node's bundles.
//! * `hostkey`: SSH host keys, derived for each node.

mod facts;
mod hostkey;
mod render;
mod rules;
mod shipped;
mod source;
mod template;

pub use facts::{Facts, read_authorized_keys};
pub use hostkey::HostKey;
pub use render::{RenderError, Renderer};
pub use shipped::shipped_names;

#[cfg(test)]
mod tests;
