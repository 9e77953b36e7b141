//! A source becomes the tree of an image: owners, modes, times, extended attributes, links, devices and holes as they were.
//!
//! * `copy`: from a directory. `unpack`: from an archive or from layers, which `reader` takes apart, `pax` with what tar could not
//!   say at first, and `acl` with access control lists as text. `unpacker`: entries become files. `layer`: what layers take
//!   away. `pipe`: a layer as a stream, checked. `meta`: giving a file its attributes. `sparse`: writing files with holes.
//! * `place`: the finished tree takes the place of the one before.

mod acl;
mod copy;
mod layer;
#[cfg(test)]
mod layer_tests;
mod meta;
mod pax;
mod pipe;
mod place;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod unpack;
mod unpacker;

pub use place::{ImportOutcome, Imported, Replace};
pub use unpack::layer_entries;
