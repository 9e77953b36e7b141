//! The tables of the state file, and what is done with records of any of them. Values are JSON, so that later versions can read
//! and extend them.

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fleet::BOOTS_KEPT;

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const TOKENS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("tokens");
pub(super) const MEMBERS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("members");
/// Key to the end of its certificate.
pub(super) const REVOKED: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("revoked");
/// By node.
pub(super) const NEXT_BOOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("next-boots");
/// By node.
pub(super) const ONCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("once");
/// By address.
pub(super) const LEASES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("leases");
/// Node and start of the boot in milliseconds.
pub(super) const BOOTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("boots");
/// Node, start of the boot, number of the line.
pub(super) const LOGS: TableDefinition<'_, (&str, u64, u64), &[u8]> = TableDefinition::new("logs");
pub(super) const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
pub(super) const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
/// By MAC address.
pub(super) const PENDING: TableDefinition<'_, &[u8; 6], &[u8]> = TableDefinition::new("pending");
/// By node.
pub(super) const CLAIMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("claims");
/// MAC address to node: of every claim.
pub(super) const CLAIMED: TableDefinition<'_, &[u8; 6], &str> = TableDefinition::new("claimed");

/// Why a transaction was given up.
pub(super) enum Failure {
    Database(redb::Error),
    Foreign(String),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

pub(super) fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| Failure::Foreign(error.to_string()))
}

pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::Foreign(format!("a record is not readable: {error}")))
}

/// Appends a record under the next number and drops those beyond `keep`.
pub(super) fn append<T: Serialize>(
    write: &WriteTransaction,
    table: TableDefinition<'_, u64, &[u8]>,
    keep: u64,
    values: &[T],
) -> Result<(), Failure> {
    let mut table = write.open_table(table)?;
    let mut next = table.last()?.map_or(0, |(key, _)| key.value().saturating_add(1));
    for value in values {
        table.insert(next, pack(value)?.as_slice())?;
        next = next.saturating_add(1);
    }
    table.retain_in(..next.saturating_sub(keep), |_, _| false)?;
    Ok(())
}

pub(super) fn last<T: DeserializeOwned>(
    read: &ReadTransaction,
    table: TableDefinition<'_, u64, &[u8]>,
    count: usize,
) -> Result<Vec<(u64, T)>, Failure> {
    let table = read.open_table(table)?;
    let mut values = vec![];
    for entry in table.iter()?.rev().take(count) {
        let (number, value) = entry?;
        values.push((number.value(), unpack(value.value())?));
    }
    values.reverse();
    Ok(values)
}

/// Deletes all but the last boots of a node, with their logs.
pub(super) fn trim_boots(write: &WriteTransaction, node: &str) -> Result<(), Failure> {
    let mut boots = write.open_table(BOOTS)?;
    let mut started = vec![];
    for entry in boots.range((node, 0)..=(node, u64::MAX))?.rev() {
        started.push(entry?.0.value().1);
    }
    let mut logs = write.open_table(LOGS)?;
    for started in started.into_iter().skip(BOOTS_KEPT) {
        boots.remove((node, started))?;
        logs.retain_in((node, started, 0)..=(node, started, u64::MAX), |_, _| false)?;
    }
    Ok(())
}
