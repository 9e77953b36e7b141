//! Admission: join tokens, redemption, certificates, and the join answer.

mod machine;
#[cfg(test)]
mod tests;

pub use machine::{Admission, Alarm, Decision, Facts, RenewFacts, decide, membership, renew};
