//! One sender and one receiver over loopback, in processes of their own: Wulfpack, and what else moves bytes, in one run.
//!
//! * `site`: the image that is moved, and who may have it. * `knobs`: what can be set. * `end`: the processes.
//! * `wulfpack`, `bare`: the two ends over our swarm, and over quinn alone. * `contest`: runs and rows. * `others`: nginx with curl, iroh-blobs.

mod bare;
mod contest;
mod end;
mod knobs;
mod others;
mod site;
mod wulfpack;

pub use contest::{PairContest, PairRow, pair_table};
pub use end::{End, Way};
pub use knobs::Setting;
pub use site::Site;
