//! State that outlives the process: the `Store` trait and its redb implementation.

mod api;
mod discovery;
mod embedded;
mod tables;
#[cfg(test)]
mod tests;

pub use api::{
    ANONYMOUS_MAX, AUDIT_MAX, AuditRecord, Batch, EVENTS_MAX, Member, NextBoot, Redeemed, Revocations, Store,
    StoreError,
};
pub use discovery::{Claim, Claimed, Discoveries, PendingMachine};
pub use embedded::RedbStore;
