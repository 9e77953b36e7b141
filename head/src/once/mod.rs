//! What nodes boot once: a choice for the next boot that the registry does not know, stored until it is used.
//!
//! * `record`: the life of one choice, pure. * `book`: all of them, in memory and in the store.

mod book;
mod record;
#[cfg(test)]
mod tests;

pub use book::OnceBook;
pub use record::{OnceRecord, Step, Taken};
