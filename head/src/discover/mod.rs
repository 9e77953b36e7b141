//! Machines that no registry knows: they tell what they are, wait on a list, and become nodes; see docs/discovery.md.
//!
//! * `pending`: the list, within its bounds; pure. `matching`: what fits a machine; `rules`: which machine becomes which node by
//!   itself; both pure.
//! * `registry`: the registry together with who has become which node and is not written into it yet.
//! * `seat`: what unknown machines boot; pure. `answers`: what a machine that has become a node is told.
//! * `service`: what machines and administrators ask; `control`: how questions of machines reach it. `keeper`: what has to be looked at from time to time.

mod answers;
mod control;
mod keeper;
mod matching;
mod pending;
mod registry;
mod rules;
mod seat;
mod service;
#[cfg(test)]
mod tests;

pub use control::Control;
pub use matching::{Match, MatchError, natural};
pub use pending::{Pending, PendingError, Told};
pub use registry::ClaimedRegistry;
pub use rules::{Lists, Rules, Suggestion, parse_list};
pub use seat::{Networks, own_args, runs, seat};
pub use service::{AdoptError, Discovery, DiscoveryOptions};
