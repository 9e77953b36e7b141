//! rustls' questions about a peer's certificate, answered with [`Trust`].

use core::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use super::cert::{self, Shown};
use super::trust::{MemberError, Trust};
use crate::id::PublicKey;
use crate::identity::Membership;

/// One verifier for both ends; a dialler says whom it expects.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    expected: Option<PublicKey>,
}

impl Verifier {
    pub(super) const fn new(trust: Trust, expected: Option<PublicKey>) -> Self {
        Self { trust, expected }
    }

    fn check(&self, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !chain.is_empty() {
            return Err(refuse(MemberError::Form { why: "it comes with others" }));
        }
        let (key, _) = member(&self.trust, leaf).map_err(refuse)?;
        match self.expected {
            Some(expected) if expected != key => Err(refuse(MemberError::OtherPeer { expected, found: key })),
            _ => Ok(()),
        }
    }

    fn check_signature(
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Shown { spki, .. } = cert::read(leaf).map_err(refuse)?;
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(spki), signed, &algorithms())
    }
}

/// The key and the checked membership that a certificate shows.
pub(super) fn member(trust: &Trust, leaf: &CertificateDer<'_>) -> Result<(PublicKey, Membership), MemberError> {
    let shown = cert::read(leaf)?;
    let membership = trust.check(&shown.key, &shown.membership)?;
    Ok((shown.key, membership))
}

fn refuse(why: MemberError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Said(why)))))
}

/// rustls prints the `Debug` form of foreign errors; ours reads as its message, at both ends of the connection.
#[derive(thiserror::Error)]
#[error(transparent)]
struct Said(MemberError);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

/// TLS 1.2 is switched off, so that rustls never asks.
fn never_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(never_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(never_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
