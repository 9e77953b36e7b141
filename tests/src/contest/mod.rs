//! One image to N hosts over shaped links: Wulfpack and what else distributes files, on the same links in one run.
//!
//! * `setup`: what is distributed. `row`: the figures.
//! * `ours`: `wulf serve` and `wulf-agent fetch`. `web`: nginx and curl. `torrent`: libtorrent. `aria`: aria2, with a tracker for it.

mod aria;
mod ours;
mod row;
mod setup;
mod torrent;
mod web;

pub use row::{Row, table};
pub use setup::{Contest, System};
