//! Membership certificates: "this key is this node of this cluster until then", signed by the cluster's key.
//! Both ends of every data connection show theirs in the TLS handshake.

use serde::{Deserialize, Serialize};

use super::{Endorsement, SecretKey, Signature, SignatureError};
use crate::id::{ImageName, NodeName, PublicKey, RackName};
use crate::limits::{CERTIFICATE_MAX, CLOCK_TOLERANCE};
use crate::time::UnixTime;
use crate::wire;

const MEMBERSHIP: &str = "wulfpack membership v1";
const TIME: &str = "wulfpack head time v1";

/// What a member is to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A head: first seed and tracker.
    Head,
    /// A node of the registry.
    Node,
    /// Any host with an anonymous ticket; may fetch and serve this image only, and never gets an overlay.
    Anonymous {
        /// The one image.
        image: ImageName,
    },
}

/// What the cluster key vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The member's key: its libp2p identity and its TLS key.
    pub subject: PublicKey,
    /// Its name; heads and anonymous members have made-up ones.
    pub name: NodeName,
    /// What it is.
    pub role: Role,
    /// Where it stands, if known.
    pub rack: Option<RackName>,
    /// First moment of validity.
    pub not_before: UnixTime,
    /// Last moment of validity.
    pub not_after: UnixTime,
    /// Rises with every revocation; see the tracker's answers.
    pub epoch: u32,
}

/// A membership as it is sent: the exact bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedMembership {
    /// The encoded [`Membership`].
    pub membership: Vec<u8>,
    /// The cluster key that signed it.
    pub signer: PublicKey,
    /// Over the encoded membership.
    pub signature: Signature,
    /// How the signer became a key of the cluster, oldest first: a member that was told only an older key follows them.
    pub endorsements: Vec<Endorsement>,
}

/// Why a certificate does not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not of this cluster.
    #[error("certificate refused: {0}")]
    Signature(#[from] SignatureError),
    /// Not readable.
    #[error("certificate refused: {0}")]
    Decode(#[from] wire::DecodeError),
    /// It is another key's certificate.
    #[error("certificate refused: it belongs to another key than the one that shows it")]
    OtherSubject,
    /// Out of its time.
    #[error("certificate of {name} is valid from {not_before} to {not_after}; by the cluster's clock it is {now}")]
    OutOfTime {
        /// Whose it is.
        name: NodeName,
        /// First moment of validity.
        not_before: UnixTime,
        /// Last moment of validity.
        not_after: UnixTime,
        /// Cluster time of the check.
        now: UnixTime,
    },
}

impl SignedMembership {
    /// Signs a membership with the cluster's key.
    pub fn sign(membership: &Membership, cluster: &SecretKey) -> Self {
        let membership = wire::encode(membership);
        let signature = cluster.sign(MEMBERSHIP, &membership);
        Self { membership, signer: cluster.public(), signature, endorsements: vec![] }
    }

    /// The same, with the words by which older keys of the cluster vouch for the signer.
    #[must_use]
    pub fn endorsed(self, endorsements: Vec<Endorsement>) -> Self {
        Self { endorsements, ..self }
    }

    /// `cluster`, and the keys that it vouches for by this certificate's endorsements.
    pub fn keys_from(&self, cluster: &[PublicKey]) -> Vec<PublicKey> {
        Endorsement::extend(cluster, &self.endorsements)
    }

    /// Checks the signature, by one of `cluster` or a key that these vouch for, the subject and the validity at cluster time `now`.
    pub fn verify(
        &self,
        cluster: &[PublicKey],
        subject: &PublicKey,
        now: UnixTime,
    ) -> Result<Membership, CertificateError> {
        let extended;
        let keys = if cluster.contains(&self.signer) {
            cluster
        } else {
            extended = self.keys_from(cluster);
            &extended
        };
        self.signature.verify(MEMBERSHIP, &self.membership, &self.signer, keys)?;
        let membership: Membership = wire::decode::<_, CERTIFICATE_MAX>(&self.membership)?;
        if membership.subject != *subject {
            return Err(CertificateError::OtherSubject);
        }
        let Membership { not_before, not_after, .. } = membership;
        if now + CLOCK_TOLERANCE < not_before || now > not_after + CLOCK_TOLERANCE {
            return Err(CertificateError::OutOfTime { name: membership.name, not_before, not_after, now });
        }
        Ok(membership)
    }
}

/// The head's time, signed, so that a node whose clock is wrong can trust it. Fresh because it answers the node's own nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTime {
    /// The head's time of day when it answered.
    pub time: UnixTime,
    /// The cluster key that signed it.
    pub signer: PublicKey,
    /// Over nonce and time.
    pub signature: Signature,
}

impl SignedTime {
    /// Signs `time` in answer to the nonce of a request.
    pub fn sign(time: UnixTime, nonce: &[u8; 16], cluster: &SecretKey) -> Self {
        let signature = cluster.sign(TIME, &wire::encode(&(nonce, time)));
        Self { time, signer: cluster.public(), signature }
    }

    /// The time, if a key of the cluster signed it for this nonce.
    pub fn verify(&self, nonce: &[u8; 16], cluster: &[PublicKey]) -> Result<UnixTime, SignatureError> {
        self.signature.verify(TIME, &wire::encode(&(nonce, self.time)), &self.signer, cluster)?;
        Ok(self.time)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn member(subject: PublicKey) -> Membership {
        Membership {
            subject,
            name: "n1".parse().unwrap(),
            role: Role::Node,
            rack: None,
            not_before: UnixTime::from_secs(1_000_000),
            not_after: UnixTime::from_secs(2_000_000),
            epoch: 0,
        }
    }

    #[test]
    fn a_certificate_counts_for_its_cluster_its_key_and_its_time() {
        let (cluster, node, other) =
            (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]), SecretKey::from_seed([3; 32]));
        let signed = SignedMembership::sign(&member(node.public()), &cluster);
        let now = UnixTime::from_secs(1_500_000);
        assert_eq!(signed.verify(&[cluster.public()], &node.public(), now).unwrap(), member(node.public()));
        assert!(matches!(signed.verify(&[other.public()], &node.public(), now), Err(CertificateError::Signature(_))));
        assert_eq!(signed.verify(&[cluster.public()], &other.public(), now), Err(CertificateError::OtherSubject));
        for (secs, good) in [(999_500, true), (999_000, false), (2_000_500, true), (2_001_000, false)] {
            let result = signed.verify(&[cluster.public()], &node.public(), UnixTime::from_secs(secs));
            assert_eq!(result.is_ok(), good, "at {secs}: {result:?}");
        }
    }

    #[test]
    fn a_certificate_of_the_new_key_counts_for_those_who_know_only_the_old_one() {
        let (old, new, node) =
            (SecretKey::from_seed([1; 32]), SecretKey::from_seed([4; 32]), SecretKey::from_seed([2; 32]));
        let now = UnixTime::from_secs(1_500_000);
        let bare = SignedMembership::sign(&member(node.public()), &new);
        assert!(matches!(bare.verify(&[old.public()], &node.public(), now), Err(CertificateError::Signature(_))));
        let endorsed = bare.endorsed(vec![Endorsement::sign(new.public(), &old)]);
        assert_eq!(endorsed.verify(&[old.public()], &node.public(), now).unwrap(), member(node.public()));
        assert_eq!(endorsed.keys_from(&[old.public()]), [old.public(), new.public()]);
        let stranger = SecretKey::from_seed([9; 32]);
        assert!(endorsed.verify(&[stranger.public()], &node.public(), now).is_err());
    }

    #[test]
    fn time_answers_one_nonce() {
        let cluster = SecretKey::from_seed([1; 32]);
        let signed = SignedTime::sign(UnixTime(5), &[1; 16], &cluster);
        assert_eq!(signed.verify(&[1; 16], &[cluster.public()]), Ok(UnixTime(5)));
        assert!(signed.verify(&[2; 16], &[cluster.public()]).is_err());
        let later = SignedTime { time: signed.time + Duration::from_secs(1), ..signed };
        assert!(later.verify(&[1; 16], &[cluster.public()]).is_err());
    }
}
