//! What a member believes: the cluster's keys, its time, and whom it has cast out.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use crate::id::PublicKey;
use crate::identity::{CertificateError, Membership, SignedMembership};
use crate::net::clock::ClusterClock;

/// Why a peer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Its X.509 certificate is not one of ours.
    #[error("peer refused: its certificate is not a member's: {why}")]
    Form {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Its membership does not count. The text is that of [`CertificateError`].
    #[error("peer {key:.16} refused: {why}")]
    Membership {
        /// The key it showed.
        key: PublicKey,
        /// Why.
        why: String,
    },
    /// The cluster revoked it.
    #[error("peer {key:.16} refused: the cluster has revoked its key")]
    Revoked {
        /// Its key.
        key: PublicKey,
    },
    /// Somebody else answered at its address.
    #[error("peer refused: {found:.16} answered at the address of {expected:.16}")]
    OtherPeer {
        /// Whom we dialled.
        expected: PublicKey,
        /// Who answered.
        found: PublicKey,
    },
}

/// Cluster keys, cluster time and revoked keys. Clones share one state.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cluster: RwLock<Vec<PublicKey>>,
    clock: ClusterClock,
    revoked: RwLock<BTreeSet<PublicKey>>,
}

impl Trust {
    /// Believes what these keys sign, at the time that `clock` shows.
    pub fn new(cluster: Vec<PublicKey>, clock: ClusterClock) -> Self {
        Self(Arc::new(Inner { cluster: RwLock::new(cluster), clock, revoked: RwLock::default() }))
    }

    /// The cluster's keys.
    pub fn cluster(&self) -> Vec<PublicKey> {
        self.0.cluster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on believes what these keys sign, and nothing else. Connections that stand are not touched.
    pub fn believe(&self, cluster: Vec<PublicKey>) {
        *self.0.cluster.write().unwrap_or_else(PoisonError::into_inner) = cluster;
    }

    /// The cluster's time.
    pub fn clock(&self) -> &ClusterClock {
        &self.0.clock
    }

    /// New connections of these keys are refused; says which of them were not revoked before.
    pub fn revoke(&self, keys: &[PublicKey]) -> Vec<PublicKey> {
        let mut revoked = self.0.revoked.write().unwrap_or_else(PoisonError::into_inner);
        keys.iter().copied().filter(|key| revoked.insert(*key)).collect()
    }

    /// Whether this key was revoked.
    pub fn is_revoked(&self, key: &PublicKey) -> bool {
        self.0.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Checks that `key` is a member now.
    ///
    /// # Errors
    /// Not of this cluster, another key's membership, out of its time, or revoked.
    pub fn check(&self, key: &PublicKey, membership: &SignedMembership) -> Result<Membership, MemberError> {
        if self.is_revoked(key) {
            return Err(MemberError::Revoked { key: *key });
        }
        membership
            .verify(&self.cluster(), key, self.0.clock.now())
            .map_err(|why: CertificateError| MemberError::Membership { key: *key, why: why.to_string() })
    }
}
