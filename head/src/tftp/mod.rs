//! TFTP for the network boot program, bounded.
//!
//! It serves a handful of files by name, from memory; there is no directory to walk out of. Everything larger goes over HTTP.

mod files;
mod io;
mod transfers;

pub use files::Files;
pub use io::{BindError, Options, Server};

#[cfg(test)]
mod tests;
