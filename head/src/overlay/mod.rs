//! Overlays: templates rendered for one node at request time.
//!
//! An overlay is a directory `NAME/rootfs/…` with an optional `NAME/overlay.yaml`. A file whose name ends in `.j2` is a
//! minijinja template (the suffix goes away), every other file is taken as it is. Where the name of a template has `@net@` in
//! it, it is rendered once for each interface of the node, which it sees as `interface`. A template that renders to nothing
//! but white space makes no file. A site's overlay hides the shipped one of the same name.
//!
//! Templates see `node`, `nodes`, `hosts`, `groups`, `cluster`, `ssh`, `bmc`, `agent` and `overlay`; they reach no environment variable, and
//! beside their overlay only the node's image and the directory `files`. An undefined name is an error, and a value with a line break cannot be printed: no field of
//! the registry can add a line to a file.
//!
//! * `source`: reading overlays from directories, or from what is built in (`shipped`).
//! * `rules`: `overlay.yaml`. `attributes`: owners and modes that commands wrote down.
//! * `facts`: what templates see of the cluster.
//! * `template`: the environment that templates run in. `functions`: what they can call; `confined`, `ignition`: two of them.
//! * `output`: text becomes files and links. `compiled`: what is the same for all nodes is made once.
//! * `render`: a node's bundles. `work`: one of them. `digest`: their hashes, made again only where something has changed.
//! * `pack`: contents as they travel.
//! * `site`: the site's overlays as files, for the commands that change them.
//! * `hostkey`: SSH host keys, derived for each node.

mod attributes;
mod compiled;
mod confined;
mod digest;
mod facts;
mod functions;
mod hostkey;
mod ignition;
mod output;
mod pack;
mod render;
mod rules;
mod shipped;
mod site;
mod source;
mod template;
mod work;

pub(crate) use attributes::Book;
pub use digest::Digest;
pub use facts::{Facts, host_lines, read_authorized_keys};
pub use functions::Readable;
pub use hostkey::HostKey;
pub use pack::Packer;
pub use render::{Now, RenderError, Renderer};
pub use shipped::shipped_names;
pub use site::{Origin, Site, SiteError, SiteFile, comments};

#[cfg(test)]
mod digest_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod site_tests;
#[cfg(test)]
mod tests;
