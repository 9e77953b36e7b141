//! The cluster's keys: the one that signs, and those before it that are still believed. The set itself is pure.
//!
//! Everything new is signed by the newest key, from the moment it exists: certificates, time, manifests. Nobody has to be told
//! first, because the old key names the new one ([`Endorsement`]), once, before its secret half is forgotten, and every
//! certificate carries these words along:
//!
//! * A member that was told only the old key (it booted before, or holds an old ticket) accepts certificates of the new key by
//!   the endorsement in them: those of its peers, of the head, and its own when it renews. With its own it keeps the new key.
//! * A member that booted after was told both keys, and so accepts certificates of the old key, as do the heads, until the old
//!   key's time is over. By default that is two lives of a certificate: every member that runs has renewed by then.
//! * Manifests on the head's disk keep the signature that they have; what is handed out is signed by the newest key.

use std::fs::{self, File};
use std::io;
use std::iter;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::PublicKey;
use wulfpack_shared::identity::{Endorsement, Membership, SecretKey, SignedMembership, SignedTime};
use wulfpack_shared::image::{HeaderError, SignedHeader};
use wulfpack_shared::limits::ENDORSEMENTS_MAX;
use wulfpack_shared::time::UnixTime;

use super::keys::{KeyError, KeyRole, load_key, replace_key};
use super::{Paths, write_atomically};

/// A key that signed for the cluster before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerKey {
    /// Its public half; the secret one is gone.
    pub key: PublicKey,
    /// When its successor took over.
    pub replaced: UnixTime,
    /// Last moment at which certificates that it signed count.
    pub until: UnixTime,
    /// Its word for its successor.
    pub endorsement: Endorsement,
}

/// The key that signs for the cluster, and those before it.
#[derive(Clone, Debug)]
pub struct ClusterKeys {
    newest: SecretKey,
    /// The latest first; each names the one before it here, the first one `newest`. At most [`ENDORSEMENTS_MAX`].
    former: Vec<FormerKey>,
}

impl ClusterKeys {
    /// A cluster whose key was never changed.
    pub const fn first(key: SecretKey) -> Self {
        Self { newest: key, former: vec![] }
    }

    /// These keys; `None` where the former ones do not lead to `newest`.
    pub fn new(newest: SecretKey, former: Vec<FormerKey>) -> Option<Self> {
        let successors = iter::once(newest.public()).chain(former.iter().map(|former| former.key));
        let follows = |(former, successor): (&FormerKey, PublicKey)| {
            former.endorsement.successor == successor && former.endorsement.verify(&[former.key]).is_ok()
        };
        let chained = former.len() <= ENDORSEMENTS_MAX && former.iter().zip(successors).all(follows);
        chained.then_some(Self { newest, former })
    }

    /// The key that signs.
    pub const fn newest(&self) -> &SecretKey {
        &self.newest
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.newest.public()
    }

    /// Since when it signs; `None` for the cluster's first key.
    pub fn since(&self) -> Option<UnixTime> {
        self.former.first().map(|former| former.replaced)
    }

    /// The keys before it, the latest first.
    pub fn former(&self) -> &[FormerKey] {
        &self.former
    }

    /// Keys whose certificates count at `now`, the newest first: what boots and tickets are told.
    pub fn trusted(&self, now: UnixTime) -> Vec<PublicKey> {
        let former = self.former.iter().filter(|former| now <= former.until).map(|former| former.key);
        iter::once(self.public()).chain(former).collect()
    }

    /// All keys that are remembered, also those whose time is over: what the head itself once signed is known by them.
    pub fn known(&self) -> Vec<PublicKey> {
        iter::once(self.public()).chain(self.former.iter().map(|former| former.key)).collect()
    }

    /// The same keys with `fresh` as the one that signs; the one that signs now is believed for `keep` longer.
    #[must_use]
    pub fn rotated(&self, fresh: SecretKey, now: UnixTime, keep: Duration) -> Self {
        let (key, endorsement) = (self.public(), Endorsement::sign(fresh.public(), &self.newest));
        let latest = FormerKey { key, replaced: now, until: now + keep, endorsement };
        let former = iter::once(latest).chain(self.former.iter().cloned()).take(ENDORSEMENTS_MAX).collect();
        Self { newest: fresh, former }
    }

    /// The same keys, with only the newest believed after `now`. The endorsements stay: they tell who trusts an old key
    /// anyway which key comes after it, so that a member which has not renewed yet can still do so.
    #[must_use]
    pub fn without_old(&self, now: UnixTime) -> Self {
        // The last moment is one that counts.
        let end = now - Duration::from_millis(1);
        let ended = |former: &FormerKey| FormerKey { until: former.until.min(end), ..former.clone() };
        Self { newest: self.newest.clone(), former: self.former.iter().map(ended).collect() }
    }

    /// Whether these may take the place of `before` in a running head: they have the same key, or one that it vouched for.
    pub fn follow(&self, before: &Self) -> bool {
        self.known().contains(&before.public())
    }

    /// A certificate.
    pub fn certify(&self, membership: &Membership) -> SignedMembership {
        let oldest_first = self.former.iter().rev().map(|former| former.endorsement).collect();
        SignedMembership::sign(membership, &self.newest).endorsed(oldest_first)
    }

    /// The head's time, in answer to this nonce.
    pub fn time(&self, time: UnixTime, nonce: &[u8; 16]) -> SignedTime {
        SignedTime::sign(time, nonce, &self.newest)
    }

    /// A manifest of this head's library as it is handed out: signed by the newest key. Who checks the one on disk may go by
    /// every key that is remembered: whoever can write there is this head's root, and has the newest key as well.
    pub fn hand_out(&self, stored: &SignedHeader) -> Result<SignedHeader, HeaderError> {
        stored.verify(&self.known())?;
        Ok(if stored.signer == self.public() { stored.clone() } else { stored.signed_by(&self.newest) })
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// One cannot be read, or the former ones do not belong to the newest.
    pub fn load(paths: &Paths) -> Result<Self, KeyError> {
        let newest = load_key(&paths.cluster_key(), KeyRole::Cluster)?;
        let path = paths.former_keys();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::first(newest)),
            Err(source) => return Err(KeyError::Read { path, source }),
        };
        let mut former: Vec<FormerKey> =
            serde_json::from_slice(&bytes).map_err(|_| KeyError::Former { path: path.clone() })?;
        // Written before the key that they lead to: where that never came, the key that was to be replaced still signs. The same
        // where a copy of an older key was put back.
        if let Some(at) = former.iter().position(|former| former.key == newest.public()) {
            former.drain(..=at);
        }
        Self::new(newest, former).ok_or(KeyError::Former { path })
    }

    /// Writes the keys over those that are there. Killed at any point, it leaves a key that signs and all that came before it.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn store(&self, paths: &Paths) -> Result<(), KeyError> {
        let path = paths.former_keys();
        let fail = |source| KeyError::Create { path: path.clone(), source };
        let bytes = serde_json::to_vec(&self.former).map_err(|error| fail(error.into()))?;
        write_atomically(&path, &bytes, 0o600).map_err(fail)?;
        replace_key(&paths.cluster_key(), KeyRole::Cluster, &self.newest)
    }
}

/// The right to change the cluster's keys: two commands at a time would each forget the other's key. Released when dropped.
#[derive(Debug)]
pub struct KeysLock {
    // Closing the directory releases the lock.
    _directory: File,
}

impl KeysLock {
    /// Waits for it.
    ///
    /// # Errors
    /// The directory of the keys cannot be opened or locked.
    pub fn take(paths: &Paths) -> Result<Self, KeyError> {
        let path = paths.keys();
        let lock = || {
            let directory = File::open(&path)?;
            directory.lock()?;
            Ok(Self { _directory: directory })
        };
        lock().map_err(|source| KeyError::Read { path: path.clone(), source })
    }
}
