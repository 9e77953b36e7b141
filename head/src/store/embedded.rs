//! The store of a single head: one redb file, 0600.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableHandle, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{NodeName, PublicKey};
use wulfpack_shared::time::UnixTime;

use super::api::{
    AUDIT_MAX, AuditRecord, Batch, EVENTS_MAX, Member, NextBoot, Redeemed, Revocations, Store, StoreError,
};
use super::discovery::open_discoveries;
use super::tables::{
    AUDIT, BOOTS, EVENTS, Failure, LEASES, LOGS, MEMBERS, META, NEXT_BOOTS, ONCES, REVOKED, TOKENS, append, last, pack,
    trim_boots, unpack,
};
use crate::dhcp::LeaseRecord;
use crate::fleet::{BootRecord, EventRecord, LOG_LINES_MAX, LogLine};
use crate::once::OnceRecord;

const FORMAT: u64 = 1;
/// Page cache of the database in bytes: all hot state of 10,000 nodes fits.
const CACHE: usize = 32 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Redemption {
    expires: UnixTime,
    keys: Vec<PublicKey>,
    /// The last other key that tried.
    refused: Option<PublicKey>,
}

/// The store of a single head.
pub struct RedbStore {
    database: Database,
    file: String,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("file", &self.file).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the state file, or makes one that only its owner can read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        // Made here, because redb would make it readable for others.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| StoreError::Io { doing: "open", file: name.clone(), why: error.to_string() })?;
        let database = Builder::new().set_cache_size(CACHE).create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { file: name.clone() },
            other => StoreError::Foreign { file: name.clone(), why: other.to_string() },
        })?;
        let store = Self { database, file: name };
        store.claim()?;
        Ok(store)
    }

    /// Marks a new file as ours and refuses one that is not.
    fn claim(&self) -> Result<(), StoreError> {
        self.update(|write| {
            let tables: Vec<String> = write.list_tables()?.map(|table| table.name().to_owned()).collect();
            let mut meta = write.open_table(META)?;
            let format = meta.get("format")?.map(|value| value.value().to_vec());
            match format {
                Some(bytes) if bytes == FORMAT.to_le_bytes() => {}
                Some(_) => return Err(Failure::Foreign("it was written by a later version".into())),
                None if tables.is_empty() => {
                    meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
                }
                None => return Err(Failure::Foreign("it is another program's database".into())),
            }
            drop(meta);
            // Readers may count on every table.
            write.open_table(TOKENS)?;
            write.open_table(MEMBERS)?;
            write.open_table(REVOKED)?;
            write.open_table(NEXT_BOOTS)?;
            write.open_table(ONCES)?;
            write.open_table(LEASES)?;
            write.open_table(BOOTS)?;
            write.open_table(LOGS)?;
            write.open_table(EVENTS)?;
            write.open_table(AUDIT)?;
            open_discoveries(write)
        })
    }

    pub(super) fn update<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let run = || {
            let write = self.database.begin_write().map_err(redb::Error::from)?;
            let value = change(&write)?;
            write.commit().map_err(redb::Error::from)?;
            Ok(value)
        };
        run().map_err(|failure| self.error("write", failure))
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&ReadTransaction) -> Result<T, Failure>) -> Result<T, StoreError> {
        let run = || look(&self.database.begin_read().map_err(redb::Error::from)?);
        run().map_err(|failure| self.error("read", failure))
    }

    fn error(&self, doing: &'static str, failure: Failure) -> StoreError {
        let file = self.file.clone();
        match failure {
            Failure::Foreign(why) => StoreError::Foreign { file, why },
            Failure::Database(redb::Error::Corrupted(why)) => StoreError::Foreign { file, why },
            Failure::Database(error) => StoreError::Io { doing, file, why: error.to_string() },
        }
    }
}

fn revocations(
    revoked: &impl ReadableTable<&'static [u8; 32], u64>,
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Revocations, Failure> {
    let epoch = meta.get("epoch")?.and_then(|value| value.value().try_into().ok()).map_or(0, u32::from_le_bytes);
    let mut keys = vec![];
    for entry in revoked.iter()? {
        keys.push(PublicKey(*entry?.0.value()));
    }
    Ok(Revocations { epoch, keys })
}

impl Store for RedbStore {
    fn token_key(&self, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.update(|write| {
            let mut meta = write.open_table(META)?;
            let stored = meta.get("token-key")?.map(|value| value.value().to_vec());
            if let Some(stored) = stored {
                return stored.try_into().map_err(|_| Failure::Foreign("the token key has a wrong length".into()));
            }
            meta.insert("token-key", fresh.as_slice())?;
            Ok(fresh)
        })
    }

    fn redeem(&self, nonce: [u8; 16], places: u32, expires: UnixTime, key: PublicKey) -> Result<Redeemed, StoreError> {
        self.update(|write| {
            let mut tokens = write.open_table(TOKENS)?;
            let stored = tokens.get(&nonce)?.map(|value| unpack::<Redemption>(value.value())).transpose()?;
            let mut redemption = stored.unwrap_or(Redemption { expires, keys: vec![], refused: None });
            let outcome = if redemption.keys.contains(&key) {
                return Ok(Redeemed::Again);
            } else if redemption.keys.len() < places as usize {
                redemption.keys.push(key);
                Redeemed::First
            } else {
                redemption.refused = Some(key);
                Redeemed::Taken { by: redemption.keys.clone() }
            };
            tokens.insert(&nonce, pack(&redemption)?.as_slice())?;
            Ok(outcome)
        })
    }

    fn redeemers(&self, nonce: [u8; 16]) -> Result<Vec<PublicKey>, StoreError> {
        self.read(|read| {
            let stored = read.open_table(TOKENS)?.get(&nonce)?;
            stored.map_or(Ok(vec![]), |value| Ok(unpack::<Redemption>(value.value())?.keys))
        })
    }

    fn put_member(&self, member: &Member) -> Result<(), StoreError> {
        self.update(|write| {
            write.open_table(MEMBERS)?.insert(&member.key.0, pack(member)?.as_slice())?;
            Ok(())
        })
    }

    fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.read(|read| {
            let table = read.open_table(MEMBERS)?;
            let mut members = vec![];
            for entry in table.iter()? {
                members.push(unpack(entry?.1.value())?);
            }
            Ok(members)
        })
    }

    fn revoke(&self, keys: &[(PublicKey, UnixTime)]) -> Result<Revocations, StoreError> {
        self.update(|write| {
            let (mut revoked, mut meta) = (write.open_table(REVOKED)?, write.open_table(META)?);
            let mut fresh = false;
            for (key, until) in keys {
                fresh |= revoked.insert(&key.0, until.0)?.is_none();
            }
            if fresh {
                let epoch = revocations(&revoked, &meta)?.epoch.saturating_add(1);
                meta.insert("epoch", epoch.to_le_bytes().as_slice())?;
            }
            revocations(&revoked, &meta)
        })
    }

    fn revocations(&self) -> Result<Revocations, StoreError> {
        self.read(|read| revocations(&read.open_table(REVOKED)?, &read.open_table(META)?))
    }

    fn put_next_boot(&self, node: &NodeName, boot: &NextBoot) -> Result<(), StoreError> {
        self.update(|write| {
            write.open_table(NEXT_BOOTS)?.insert(node.as_str(), pack(boot)?.as_slice())?;
            Ok(())
        })
    }

    fn take_next_boot(
        &self,
        node: &NodeName,
        fits: &dyn Fn(&NextBoot) -> bool,
    ) -> Result<Option<NextBoot>, StoreError> {
        // A machine that waits asks every few seconds: only one that is announced is worth a flush of the disk.
        let there = self.read(|read| Ok(read.open_table(NEXT_BOOTS)?.get(node.as_str())?.is_some()))?;
        if !there {
            return Ok(None);
        }
        self.update(|write| {
            let mut table = write.open_table(NEXT_BOOTS)?;
            let stored = table.get(node.as_str())?.map(|value| unpack::<NextBoot>(value.value())).transpose()?;
            let taken = stored.filter(|boot| fits(boot));
            if taken.is_some() {
                table.remove(node.as_str())?;
            }
            Ok(taken)
        })
    }

    fn put_onces(&self, records: &[(&NodeName, Option<&OnceRecord>)]) -> Result<(), StoreError> {
        self.update(|write| {
            let mut table = write.open_table(ONCES)?;
            for (node, record) in records {
                match record {
                    Some(record) => drop(table.insert(node.as_str(), pack(record)?.as_slice())?),
                    None => drop(table.remove(node.as_str())?),
                }
            }
            Ok(())
        })
    }

    fn onces(&self) -> Result<Vec<(NodeName, OnceRecord)>, StoreError> {
        self.read(|read| {
            let table = read.open_table(ONCES)?;
            let mut records = vec![];
            for entry in table.iter()? {
                let (node, record) = entry?;
                let name = node.value().parse().map_err(|error| Failure::Foreign(format!("{error}")))?;
                records.push((name, unpack(record.value())?));
            }
            Ok(records)
        })
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        self.update(|write| {
            {
                let mut boots = write.open_table(BOOTS)?;
                for boot in &batch.boots {
                    boots.insert((boot.node.as_str(), boot.started.0), pack(boot)?.as_slice())?;
                }
                let mut logs = write.open_table(LOGS)?;
                for (node, started, number, line) in &batch.lines {
                    logs.insert((node.as_str(), started.0, *number), pack(line)?.as_slice())?;
                    if let Some(gone) = number.checked_sub(LOG_LINES_MAX) {
                        logs.remove((node.as_str(), started.0, gone))?;
                    }
                }
            }
            for boot in &batch.boots {
                trim_boots(write, boot.node.as_str())?;
            }
            append(write, EVENTS, EVENTS_MAX, &batch.events)
        })
    }

    fn boots(&self) -> Result<Vec<BootRecord>, StoreError> {
        self.read(|read| {
            let table = read.open_table(BOOTS)?;
            let mut boots = vec![];
            for entry in table.iter()? {
                boots.push(unpack(entry?.1.value())?);
            }
            Ok(boots)
        })
    }

    fn log(&self, node: &NodeName, started: UnixTime) -> Result<Vec<LogLine>, StoreError> {
        self.read(|read| {
            let (table, node) = (read.open_table(LOGS)?, node.as_str());
            let mut lines = vec![];
            for entry in table.range((node, started.0, 0)..=(node, started.0, u64::MAX))? {
                lines.push(unpack(entry?.1.value())?);
            }
            Ok(lines)
        })
    }

    fn events(&self, count: usize) -> Result<Vec<(u64, EventRecord)>, StoreError> {
        self.read(|read| last(read, EVENTS, count))
    }

    fn events_from(&self, from: u64, count: usize) -> Result<Vec<(u64, EventRecord)>, StoreError> {
        self.read(|read| {
            let mut events = vec![];
            for entry in read.open_table(EVENTS)?.range(from..)?.take(count) {
                let (number, value) = entry?;
                events.push((number.value(), unpack(value.value())?));
            }
            Ok(events)
        })
    }

    fn lend(&self, leases: &[LeaseRecord], now: UnixTime) -> Result<Vec<Option<LeaseRecord>>, StoreError> {
        self.update(|write| {
            let mut table = write.open_table(LEASES)?;
            let mut outcomes = vec![];
            for lease in leases {
                let key = lease.address.to_bits();
                let stored = table.get(key)?.map(|value| unpack::<LeaseRecord>(value.value())).transpose()?;
                let other = stored.filter(|stored| stored.mac != lease.mac && stored.holds(now));
                if other.is_none() {
                    table.insert(key, pack(lease)?.as_slice())?;
                }
                outcomes.push(other);
            }
            Ok(outcomes)
        })
    }

    fn leases(&self) -> Result<Vec<LeaseRecord>, StoreError> {
        self.read(|read| {
            let table = read.open_table(LEASES)?;
            let mut leases = vec![];
            for entry in table.iter()? {
                leases.push(unpack(entry?.1.value())?);
            }
            Ok(leases)
        })
    }

    fn audit(&self, record: &AuditRecord) -> Result<(), StoreError> {
        self.update(|write| append(write, AUDIT, AUDIT_MAX, std::slice::from_ref(record)))
    }

    fn audits(&self, count: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let numbered = self.read(|read| last(read, AUDIT, count))?;
        Ok(numbered.into_iter().map(|(_, record)| record).collect())
    }

    fn prune(&self, now: UnixTime) -> Result<(), StoreError> {
        self.update(|write| {
            let passed = |expires: UnixTime| expires < now;
            // What cannot be read is kept: better too much than a token that admits twice.
            let token = |value: &[u8]| unpack::<Redemption>(value).is_ok_and(|token| passed(token.expires));
            let member = |value: &[u8]| unpack::<Member>(value).is_ok_and(|member| passed(member.not_after));
            write.open_table(TOKENS)?.retain(|_, value| !token(value))?;
            write.open_table(MEMBERS)?.retain(|_, value| !member(value))?;
            write.open_table(REVOKED)?.retain(|_, until| !passed(UnixTime(until)))?;
            let announced = |value: &[u8]| unpack::<NextBoot>(value).is_ok_and(|boot| passed(boot.until));
            write.open_table(NEXT_BOOTS)?.retain(|_, value| !announced(value))?;
            let ended = |value: &[u8]| unpack::<LeaseRecord>(value).is_ok_and(|lease| passed(lease.expires));
            write.open_table(LEASES)?.retain(|_, value| !ended(value))?;
            Ok(())
        })
    }
}
