//! Go's templates (text/template with Sprig and Warewulf's functions), translated to ours as far as they have an equivalent.
//!
//! * `lex`: text and actions, with their lines. `ast`, `parse`: blocks and pipelines.
//! * `fields`: what Warewulf's names of nodes, networks and disks are called here. `functions`: what its functions are.
//! * `emit`: a template of ours. What has no equivalent is listed with its line and a reason, never guessed.

mod ast;
mod emit;
mod fields;
mod functions;
mod lex;
mod parse;

pub use emit::{Translated, translate};

#[cfg(test)]
mod tests;
