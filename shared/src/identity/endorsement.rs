//! How a cluster changes its key without anybody being told beforehand: the old key names its successor, and what the successor
//! signs carries those words along.

use serde::{Deserialize, Serialize};

use super::{SecretKey, Signature, SignatureError};
use crate::id::PublicKey;
use crate::limits::ENDORSEMENTS_MAX;

const SUCCESSOR: &str = "wulfpack cluster key successor v1";

/// "This is the key of the cluster after me."
///
/// It gives nobody more than he had: whoever holds a cluster key that a member trusts can sign certificates for that member
/// anyway. So it needs no end of its own, and the old secret key is of no use once it has said this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    /// The key that comes after.
    pub successor: PublicKey,
    /// The key that came before.
    pub signer: PublicKey,
    /// Over the successor.
    pub signature: Signature,
}

impl Endorsement {
    /// Names `successor` the key after `old`.
    pub fn sign(successor: PublicKey, old: &SecretKey) -> Self {
        Self { successor, signer: old.public(), signature: old.sign(SUCCESSOR, &successor.0) }
    }

    /// Checks that one of these keys said it.
    ///
    /// # Errors
    /// Another key signed it, or nobody did.
    pub fn verify(&self, cluster: &[PublicKey]) -> Result<(), SignatureError> {
        self.signature.verify(SUCCESSOR, &self.successor.0, &self.signer, cluster)
    }

    /// `cluster`, and the keys that it vouches for through `endorsements`, which come oldest first; the first
    /// [`ENDORSEMENTS_MAX`] count.
    pub fn extend(cluster: &[PublicKey], endorsements: &[Self]) -> Vec<PublicKey> {
        let mut keys = cluster.to_vec();
        for endorsement in endorsements.iter().take(ENDORSEMENTS_MAX) {
            if !keys.contains(&endorsement.successor) && endorsement.verify(&keys).is_ok() {
                keys.push(endorsement.successor);
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed([n; 32])
    }

    #[test]
    fn a_chain_leads_from_a_known_key_to_the_newest_and_from_no_other() {
        let chain = [Endorsement::sign(key(2).public(), &key(1)), Endorsement::sign(key(3).public(), &key(2))];
        let keys = |known: u8| Endorsement::extend(&[key(known).public()], &chain);
        assert_eq!(keys(1), [1, 2, 3].map(|n| key(n).public()));
        assert_eq!(keys(2), [2, 3].map(|n| key(n).public()));
        assert_eq!(keys(3), [key(3).public()], "the newest vouches for nobody");
        assert_eq!(keys(9), [key(9).public()]);
    }

    #[test]
    fn a_forged_or_overlong_chain_adds_nothing() {
        let good = Endorsement::sign(key(2).public(), &key(1));
        let forged = [
            Endorsement { successor: key(7).public(), ..good },
            Endorsement { signer: key(1).public(), ..Endorsement::sign(key(7).public(), &key(8)) },
        ];
        for forged in forged {
            assert_eq!(Endorsement::extend(&[key(1).public()], &[forged]), [key(1).public()]);
        }
        let chain: Vec<_> = (1..100).map(|n| Endorsement::sign(key(n + 1).public(), &key(n))).collect();
        assert_eq!(Endorsement::extend(&[key(1).public()], &chain).len(), 1 + ENDORSEMENTS_MAX);
    }
}
