//! A member's conversation with the heads: `machine.rs` says when, `upkeep.rs` does it; `join.rs` and `renew.rs` check the answers.
//! `ask.rs` is one question and its answer.

mod ask;
mod data;
mod join;
mod machine;
mod renew;
mod upkeep;

pub use ask::AskError;
pub(crate) use ask::ask;
pub use data::{Conduct, Link, start_swarm, start_swarm_after, start_swarm_on};
pub use join::{JoinError, JoinOrder, Joined, join};
pub use machine::{Input, Output, Schedule, Talk};
pub use renew::{RenewError, Renewed, until_renewed};
pub use upkeep::{Command, Live, Member, MemberEvent, Upkeep};
