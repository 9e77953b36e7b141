//! A new certificate: nothing of the head's answer is believed before it is checked.

use std::time::Duration;

use wulfpack_shared::id::PublicKey;
use wulfpack_shared::identity::{CertificateError, SignedMembership};
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::net::tls::{Identity, IdentityError};
use wulfpack_shared::time::UnixTime;
use wulfpack_shared::wire::{ControlRequest, ControlResponse, RenewAnswer, RenewRequest};

use super::ask::{AskError, ask, nonce};

/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// A renewal that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The new certificate.
    pub certificate: SignedMembership,
    /// The head's time when it answered.
    pub time: UnixTime,
    /// The cluster's keys as this member knows them now.
    pub cluster: Vec<PublicKey>,
}

/// Why a certificate is not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// There is no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The certificate does not count.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It could not be put to use.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Renewed {
    /// Checks the answer to the request with this nonce, by the member with this key, who knows these keys of the cluster.
    ///
    /// The cluster may have changed its key since this member was told: then the certificate is signed by the new one and
    /// carries the old one's word for it. A member keeps what it learns so. Should it miss the whole time in which the old key
    /// counts, the heads' next answer still explains the new key.
    ///
    /// # Errors
    /// The time is not the cluster's answer to this nonce, or the certificate does not count for this key at that time.
    pub fn check(
        answer: RenewAnswer,
        nonce: &[u8; 16],
        key: &PublicKey,
        cluster: &[PublicKey],
    ) -> Result<Self, RenewError> {
        let RenewAnswer { certificate, time } = answer;
        let cluster = certificate.keys_from(cluster);
        let time = time.verify(nonce, &cluster).map_err(AskError::Time)?;
        certificate.verify(&cluster, key, time)?;
        Ok(Self { certificate, time, cluster })
    }

    /// Shows the new certificate from now on, believes the keys, and goes by the head's time: over weeks the member's own clock
    /// may have drifted.
    ///
    /// # Errors
    /// The certificate cannot be used; the old one stays.
    pub fn apply(&self, identity: &Identity) -> Result<(), RenewError> {
        let trust = identity.trust();
        trust.clock().set(self.time);
        trust.believe(self.cluster.clone());
        Ok(identity.renew(&self.certificate)?)
    }
}

/// Asks until a head has renewed this certificate, which may have run out: for a member that can do nothing before. `asking` is
/// called in front of each try.
pub async fn until_renewed(
    client: &ControlClient,
    key: &PublicKey,
    certificate: &SignedMembership,
    cluster: &[PublicKey],
    mut asking: impl FnMut(),
) -> Renewed {
    let mut pause = PAUSE.0;
    loop {
        asking();
        match renew(client, key, certificate, cluster).await {
            Ok(renewed) => return renewed,
            Err(error) => tracing::warn!(%error, "this node is no member until its certificate is renewed"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn renew(
    client: &ControlClient,
    key: &PublicKey,
    certificate: &SignedMembership,
    cluster: &[PublicKey],
) -> Result<Renewed, RenewError> {
    let nonce = nonce()?;
    let request = ControlRequest::Renew(RenewRequest { certificate: certificate.clone(), nonce });
    let renewed = |answer| if let ControlResponse::Renewed(answer) = answer { Some(answer) } else { None };
    Renewed::check(ask(client, request, renewed).await?, &nonce, key, cluster)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wulfpack_shared::identity::{Endorsement, Membership, Role, SecretKey, SignedTime};
    use wulfpack_shared::net::clock::ClusterClock;
    use wulfpack_shared::net::tls::Trust;

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);
    const NONCE: [u8; 16] = [3; 16];

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed([n; 32])
    }

    fn certificate(cluster: &SecretKey, subject: u8, from: UnixTime) -> SignedMembership {
        let membership = Membership {
            subject: key(subject).public(),
            name: "n1".parse().unwrap(),
            role: Role::Node,
            rack: None,
            not_before: from,
            not_after: from + DAY * 7,
            epoch: 0,
        };
        SignedMembership::sign(&membership, cluster)
    }

    fn check(answer: RenewAnswer) -> Result<Renewed, RenewError> {
        Renewed::check(answer, &NONCE, &key(7).public(), &[key(1).public()])
    }

    #[test]
    fn a_renewal_counts_only_with_the_clusters_time_for_this_request() {
        let good =
            || RenewAnswer { certificate: certificate(&key(1), 7, NOW), time: SignedTime::sign(NOW, &NONCE, &key(1)) };
        assert_eq!(check(good()).unwrap().time, NOW);
        for time in [
            SignedTime::sign(NOW, &[4; 16], &key(1)),
            SignedTime::sign(NOW, &NONCE, &key(9)),
            SignedTime { time: NOW - DAY, ..good().time },
        ] {
            assert!(matches!(check(RenewAnswer { time, ..good() }), Err(RenewError::Ask(AskError::Time(_)))));
        }
        // By its own clock the member might have taken an old one for good.
        for certificate in
            [certificate(&key(1), 7, NOW - DAY * 8), certificate(&key(1), 8, NOW), certificate(&key(9), 7, NOW)]
        {
            assert!(matches!(check(RenewAnswer { certificate, ..good() }), Err(RenewError::Certificate(_))));
        }
    }

    #[test]
    fn a_member_that_was_told_the_old_key_learns_the_new_one_when_it_renews() {
        let named = Endorsement::sign(key(2).public(), &key(1));
        let certificate = certificate(&key(2), 7, NOW);
        let time = SignedTime::sign(NOW, &NONCE, &key(2));
        let bare = RenewAnswer { certificate: certificate.clone(), time: time.clone() };
        assert!(matches!(check(bare), Err(RenewError::Ask(AskError::Time(_)))), "nobody vouches for that key");
        let renewed = check(RenewAnswer { certificate: certificate.endorsed(vec![named]), time }).unwrap();
        assert_eq!(renewed.cluster, [key(1).public(), key(2).public()]);
    }

    #[test]
    fn a_renewal_brings_a_member_back_whose_certificate_ran_out() {
        let clock = ClusterClock::at(NOW);
        let trust = Trust::new(vec![key(1).public()], clock.clone());
        let old = certificate(&key(1), 7, NOW);
        let identity = Identity::new(key(7), &old, trust.clone()).unwrap();
        clock.set(NOW + DAY * 20);
        assert!(trust.check(&identity.key(), &old).is_err());
        let later = NOW + DAY * 20;
        let certificate = certificate(&key(2), 7, later).endorsed(vec![Endorsement::sign(key(2).public(), &key(1))]);
        let time = SignedTime::sign(later, &NONCE, &key(2));
        check(RenewAnswer { certificate, time }).unwrap().apply(&identity).unwrap();
        assert_eq!(identity.membership().not_after, later + DAY * 7);
        assert_eq!(trust.cluster(), [key(1).public(), key(2).public()]);
    }
}
