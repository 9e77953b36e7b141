//! A member's identity, and the rustls configurations made from it.

use std::sync::{Arc, PoisonError, RwLock};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};

use super::cert;
use super::suites::{has_aes, provider};
use super::trust::{MemberError, Trust};
use super::verifier::{Verifier, member};
use crate::id::PublicKey;
use crate::identity::{Membership, SecretKey, SignedMembership};
use crate::wire::DATA_ALPN;

/// Why a key and a membership are no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The membership is not this key's, not of this cluster, or not valid now.
    #[error("this member's own certificate does not count: {0}")]
    Member(#[from] MemberError),
    /// The X.509 certificate could not be made.
    #[error("cannot make the X.509 certificate of this member: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused key or configuration.
    #[error("cannot set up TLS for this member: {0}")]
    Tls(#[from] rustls::Error),
}

/// A member's key and certificate. Clones share one state: a renewed certificate is shown in every handshake from then on.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    secret: SecretKey,
    trust: Trust,
    shown: Resolver,
}

/// Shows the present certificate.
#[derive(Clone, Debug)]
struct Resolver(Arc<RwLock<(Arc<CertifiedKey>, Membership)>>);

impl Resolver {
    fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ED25519).then(|| self.key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Identity {
    /// The identity of the member whose key this is.
    ///
    /// # Errors
    /// The membership does not count by `trust`, or the TLS library refuses the key.
    pub fn new(secret: SecretKey, membership: &SignedMembership, trust: Trust) -> Result<Self, IdentityError> {
        let shown = Resolver(Arc::new(RwLock::new(certified(&secret, membership, &trust)?)));
        Ok(Self(Arc::new(Inner { secret, trust, shown })))
    }

    /// Shows another certificate of the same key from now on; connections that stand are not touched.
    ///
    /// # Errors
    /// As for [`Self::new`]; the old certificate stays in use then.
    pub fn renew(&self, membership: &SignedMembership) -> Result<(), IdentityError> {
        let renewed = certified(&self.0.secret, membership, &self.0.trust)?;
        *self.0.shown.0.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// This member's key.
    pub fn key(&self) -> PublicKey {
        self.0.secret.public()
    }

    /// What the present certificate says of this member.
    pub fn membership(&self) -> Membership {
        self.0.shown.0.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// What this member believes of others.
    pub fn trust(&self) -> &Trust {
        &self.0.trust
    }

    /// Who is at the other end of a connection whose handshake is over.
    ///
    /// # Errors
    /// The certificate does not count (any more).
    pub fn peer(&self, connection: &quinn::Connection) -> Result<(PublicKey, Membership), MemberError> {
        let shown = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        match shown.as_deref().map(Vec::as_slice) {
            Some([leaf, ..]) => member(&self.0.trust, leaf),
            _ => Err(MemberError::Form { why: "there is none" }),
        }
    }

    /// TLS for accepting connections.
    pub(in crate::net) fn server(&self) -> Result<QuicServerConfig, IdentityError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(Verifier::new(self.0.trust.clone(), None)))
            .with_cert_resolver(Arc::new(self.0.shown.clone()));
        config.alpn_protocols = vec![DATA_ALPN.to_vec()];
        config.ignore_client_order = !has_aes();
        // A resumed session would skip the check of the certificate, and with it expiry and revocation.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        QuicServerConfig::try_from(config).map_err(no_suite)
    }

    /// TLS for dialling one member.
    pub(in crate::net) fn client(&self, expected: PublicKey) -> Result<QuicClientConfig, IdentityError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(self.0.trust.clone(), Some(expected))))
            .with_client_cert_resolver(Arc::new(self.0.shown.clone()));
        config.alpn_protocols = vec![DATA_ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        QuicClientConfig::try_from(config).map_err(no_suite)
    }
}

fn no_suite(_: quinn::crypto::rustls::NoInitialCipherSuite) -> IdentityError {
    IdentityError::Tls(rustls::Error::General("ring has no cipher suite for QUIC's first packets".to_owned()))
}

fn certified(
    secret: &SecretKey,
    membership: &SignedMembership,
    trust: &Trust,
) -> Result<(Arc<CertifiedKey>, Membership), IdentityError> {
    let checked = trust.check(&secret.public(), membership)?;
    let der = cert::pkcs8(secret);
    let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()))?;
    let chain = vec![cert::make(secret, membership)?];
    Ok((Arc::new(CertifiedKey::new(chain, key)), checked))
}
