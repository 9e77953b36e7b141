//! Real handshakes over loopback.

use core::time::Duration;

use super::*;
use crate::id::PublicKey;
use crate::identity::{Endorsement, Membership, Role, SecretKey, SignedMembership};
use crate::net::clock::ClusterClock;
use crate::net::endpoint::{DataEndpoint, DataSocket, Tuning};
use crate::time::UnixTime;

const NOW: u64 = 1_800_000_000;

fn cluster() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn membership(subject: PublicKey, cluster: &SecretKey, from: u64, to: u64) -> SignedMembership {
    let member = Membership {
        subject,
        name: "n1".parse().unwrap(),
        role: Role::Node,
        rack: None,
        not_before: UnixTime::from_secs(from),
        not_after: UnixTime::from_secs(to),
        epoch: 0,
    };
    SignedMembership::sign(&member, cluster)
}

fn trust(of: &SecretKey, now: u64) -> Trust {
    Trust::new(vec![of.public()], ClusterClock::at(UnixTime::from_secs(now)))
}

/// A member `n` of the cluster of `of`, whose clock shows `now` and who holds a certificate around that time.
fn member(n: u8, of: &SecretKey, now: u64) -> Identity {
    let certificate = membership(key(n).public(), of, now - 1000, now + 1000);
    Identity::new(key(n), &certificate, trust(of, now)).unwrap()
}

fn endpoint(identity: &Identity) -> DataEndpoint {
    let socket = DataSocket::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    DataEndpoint::start(vec![socket], identity.clone(), Tuning::default(), 100).unwrap()
}

/// Dials `server` as `client`, expecting `expected`; `Ok` holds whom each end sees, `Err` what the dialler is told.
async fn meet(client: &Identity, server: &Identity, expected: PublicKey) -> Result<(PublicKey, PublicKey), String> {
    let (near, far) = (endpoint(client), endpoint(server));
    let addr = far.local_addrs().next().unwrap();
    let accept = async {
        let incoming = far.incoming(0).await.unwrap();
        far.handshake(incoming).await
    };
    let (dialled, accepted) = tokio::join!(near.dial(addr, expected), accept);
    let dialled = dialled.map_err(|error| error.to_string())?;
    match accepted {
        Some(accepted) => Ok((client.peer(&dialled).unwrap().0, server.peer(&accepted).unwrap().0)),
        None => Err(tokio::time::timeout(Duration::from_secs(10), dialled.closed()).await.unwrap().to_string()),
    }
}

#[tokio::test]
async fn members_of_one_cluster_see_each_others_key() {
    let (a, b) = (member(2, &cluster(), NOW), member(3, &cluster(), NOW));
    assert_eq!(meet(&a, &b, b.key()).await, Ok((b.key(), a.key())));
}

#[tokio::test]
async fn a_foreign_cluster_is_refused_by_either_end() {
    let (ours, foreign) = (member(2, &cluster(), NOW), member(3, &key(9), NOW));
    for (client, server) in [(&ours, &foreign), (&foreign, &ours)] {
        let error = meet(client, server, server.key()).await.unwrap_err();
        assert!(error.contains("not a key of this cluster"), "{error}");
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_either_end() {
    // Its own clock stands still, so that it believes in its certificate.
    let (ours, stale) = (member(2, &cluster(), NOW), member(3, &cluster(), NOW - 100_000));
    let error = meet(&stale, &ours, ours.key()).await.unwrap_err();
    assert!(error.contains("is valid from"), "{error}");
    let error = meet(&ours, &stale, stale.key()).await.unwrap_err();
    assert!(error.contains("is valid from"), "{error}");
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_either_end() {
    let (ours, cast_out) = (member(2, &cluster(), NOW), member(3, &cluster(), NOW));
    assert_eq!(ours.trust().revoke(&[cast_out.key()]), [cast_out.key()]);
    assert_eq!(ours.trust().revoke(&[cast_out.key()]), []);
    for (client, server) in [(&ours, &cast_out), (&cast_out, &ours)] {
        let error = meet(client, server, server.key()).await.unwrap_err();
        assert!(error.contains("revoked"), "{error}");
    }
}

#[tokio::test]
async fn another_member_at_the_address_is_not_talked_to() {
    let (a, b) = (member(2, &cluster(), NOW), member(3, &cluster(), NOW));
    let error = meet(&a, &b, key(7).public()).await.unwrap_err();
    assert!(error.contains("answered at the address of"), "{error}");
}

#[test]
fn a_certificate_of_another_subject_is_no_identity() {
    let stolen = membership(key(2).public(), &cluster(), NOW - 1, NOW + 1);
    let error = Identity::new(key(3), &stolen, trust(&cluster(), NOW)).unwrap_err();
    assert!(error.to_string().contains("belongs to another key"), "{error}");
    // Shown all the same, it is refused by the far end.
    let der = cert::make(&key(3), &stolen).unwrap();
    let error = verifier::member(&trust(&cluster(), NOW), &der).unwrap_err();
    assert!(error.to_string().contains("belongs to another key"), "{error}");
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let server = member(2, &cluster(), NOW);
    let far = endpoint(&server);
    let mut tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(verifier::Verifier::new(
            trust(&cluster(), NOW),
            Some(server.key()),
        )))
        .with_no_client_auth();
    tls.alpn_protocols = vec![crate::wire::DATA_ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let near = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
    let connecting = near.connect_with(config, far.local_addrs().next().unwrap(), "member.wulfpack").unwrap();
    let accept = async { far.handshake(far.incoming(0).await.unwrap()).await };
    let (dialled, accepted) = tokio::join!(connecting, accept);
    assert!(accepted.is_none());
    let error = dialled.unwrap().closed().await.to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on() {
    let (a, b) = (member(2, &cluster(), NOW), member(3, &cluster(), NOW));
    a.trust().clock().set(UnixTime::from_secs(NOW + 50_000));
    b.trust().clock().set(UnixTime::from_secs(NOW + 50_000));
    meet(&a, &b, b.key()).await.unwrap_err();
    for (identity, n) in [(&a, 2), (&b, 3)] {
        identity.renew(&membership(key(n).public(), &cluster(), NOW, NOW + 60_000)).unwrap();
        assert_eq!(identity.membership().not_after, UnixTime::from_secs(NOW + 60_000));
    }
    assert_eq!(meet(&a, &b, b.key()).await, Ok((b.key(), a.key())));
}

/// A member `n` that trusts the keys `known` and shows a certificate that `signer` has signed.
fn rotating(n: u8, known: &[u8], signer: u8, endorsements: Vec<Endorsement>) -> Identity {
    let certificate = membership(key(n).public(), &key(signer), NOW - 1000, NOW + 1000).endorsed(endorsements);
    let known = known.iter().map(|n| key(*n).public()).collect();
    Identity::new(key(n), &certificate, Trust::new(known, ClusterClock::at(UnixTime::from_secs(NOW)))).unwrap()
}

#[tokio::test]
async fn members_of_the_old_and_the_new_key_accept_each_other_until_the_old_one_is_dropped() {
    let named = || vec![Endorsement::sign(key(11).public(), &key(10))];
    // Certificates of the old key; booted before the new one was made, or after.
    let (before, told) = (rotating(2, &[10], 10, vec![]), rotating(3, &[11, 10], 10, vec![]));
    let new = rotating(4, &[11, 10], 11, named());
    for old in [&before, &told] {
        assert_eq!(meet(old, &new, new.key()).await, Ok((new.key(), old.key())));
        assert_eq!(meet(&new, old, old.key()).await, Ok((old.key(), new.key())));
    }
    new.trust().believe(vec![key(11).public()]);
    for old in [&before, &told] {
        for (client, server) in [(old, &new), (&new, old)] {
            let error = meet(client, server, server.key()).await.unwrap_err();
            assert!(error.contains("not a key of this cluster"), "{error}");
        }
    }
    // Renewed, it is one of them again.
    let certificate = membership(before.key(), &key(11), NOW - 1000, NOW + 1000).endorsed(named());
    before.trust().believe(certificate.keys_from(&before.trust().cluster()));
    before.renew(&certificate).unwrap();
    assert_eq!(meet(&before, &new, new.key()).await, Ok((new.key(), before.key())));
}

#[test]
fn garbled_certificates_are_refused_without_panic() {
    let good = cert::make(&key(2), &membership(key(2).public(), &cluster(), NOW - 1, NOW + 1)).unwrap();
    let trust = trust(&cluster(), NOW);
    assert!(verifier::member(&trust, &good).is_ok());
    for position in 0..good.len() {
        let mut bad = good.to_vec();
        bad[position] ^= 0x41;
        // The X.509 signature is not looked at, so that some changes do no harm; none may do any.
        if let Ok((found, _)) = verifier::member(&trust, &bad.into()) {
            assert_eq!(found, key(2).public());
        }
        assert!(verifier::member(&trust, &good[..position].to_vec().into()).is_err());
    }
}
