//! Admission: join tokens, redemption, certificates, and the join answer.
//!
//! * `machine`: who is admitted as what; pure.
//! * `members`: who is a member now.
//! * `service`: answers agents. * `running`: those of nodes that run. * `tokens`: makes join tokens.
//! * `next_boot`: boots that running nodes announce.

mod machine;
mod members;
mod next_boot;
mod running;
mod service;
#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod tests;
mod tokens;

pub use machine::{Admission, Alarm, Decision, Facts, RENEWAL_GRACE, RenewFacts, decide, membership, renew};
pub use members::Members;
pub use next_boot::NextBoots;
pub use service::{Images, JoinOptions, JoinService, Overlays, Registry};
pub use tokens::{TicketError, TokenMaker};
