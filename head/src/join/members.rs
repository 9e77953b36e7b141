//! Who is a member now: the store's word, kept in memory because every request of every node asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use wulfpack_shared::id::PublicKey;
use wulfpack_shared::limits::CLOCK_TOLERANCE;
use wulfpack_shared::time::UnixTime;

use crate::store::{Member, Revocations, Store, StoreError};

/// The members of the cluster; clones share them.
#[derive(Clone, Debug)]
pub struct Members {
    store: Arc<dyn Store>,
    known: Arc<RwLock<Known>>,
    revocations: watch::Sender<Revocations>,
}

#[derive(Debug)]
struct Known {
    members: BTreeMap<PublicKey, Member>,
    revoked: BTreeSet<PublicKey>,
    epoch: u32,
}

impl Members {
    /// The members that the store has.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let members = store.members()?.into_iter().map(|member| (member.key, member)).collect();
        let revocations = store.revocations()?;
        let known = Known { members, revoked: revocations.keys.iter().copied().collect(), epoch: revocations.epoch };
        Ok(Self { store, known: Arc::new(RwLock::new(known)), revocations: watch::Sender::new(revocations) })
    }

    /// Follows what is revoked: data plane and tracker keep up with it.
    pub fn revocations(&self) -> watch::Receiver<Revocations> {
        self.revocations.subscribe()
    }

    /// The epoch that a certificate issued now gets.
    pub fn epoch(&self) -> u32 {
        self.known.read().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// Whether this key's certificate was revoked.
    pub fn is_revoked(&self, key: &PublicKey) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).revoked.contains(key)
    }

    /// What the heads know of this key, valid or not.
    pub fn find(&self, key: &PublicKey) -> Option<Member> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).members.get(key).cloned()
    }

    /// The member with this key, if its certificate counts at `now`.
    pub fn valid(&self, key: &PublicKey, now: UnixTime) -> Option<Member> {
        self.find(key).filter(|member| now <= member.not_after + CLOCK_TOLERANCE && !self.is_revoked(key))
    }

    /// Records a member, in the store first.
    pub fn put(&self, member: Member) -> Result<(), StoreError> {
        self.store.put_member(&member)?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).members.insert(member.key, member);
        Ok(())
    }

    /// Makes the certificates of these keys void, in the store first.
    pub fn revoke(&self, keys: &[PublicKey], now: UnixTime) -> Result<(), StoreError> {
        // A key that never became a member has no certificate; it is kept out for as long as one could have lasted.
        let longest = now + wulfpack_shared::limits::CERTIFICATE_LIFETIME;
        let until = |key| self.find(key).map_or(longest, |member| member.not_after) + CLOCK_TOLERANCE;
        let keys: Vec<_> = keys.iter().map(|key| (*key, until(key))).collect();
        let revocations = self.store.revoke(&keys)?;
        {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.revoked = revocations.keys.iter().copied().collect();
            known.epoch = revocations.epoch;
        }
        self.revocations.send_replace(revocations);
        Ok(())
    }

    /// Makes the certificates of all members void for which `gone` says so; their keys.
    pub fn revoke_where(&self, now: UnixTime, gone: impl Fn(&Member) -> bool) -> Result<Vec<PublicKey>, StoreError> {
        let keys: Vec<PublicKey> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let void = known.members.values().filter(|member| gone(member) && !known.revoked.contains(&member.key));
            void.map(|member| member.key).collect()
        };
        if !keys.is_empty() {
            self.revoke(&keys, now)?;
        }
        Ok(keys)
    }

    /// Forgets what ran out.
    pub fn prune(&self, now: UnixTime) -> Result<(), StoreError> {
        self.store.prune(now)?;
        let fresh = Self::open(Arc::clone(&self.store))?;
        let fresh_known = fresh.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.members.retain(|key, _| fresh_known.members.contains_key(key));
        known.revoked.retain(|key| fresh_known.revoked.contains(key));
        drop(known);
        self.revocations.send_replace(fresh.revocations.borrow().clone());
        Ok(())
    }
}
