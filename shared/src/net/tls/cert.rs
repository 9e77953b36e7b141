//! The X.509 certificate of a member, made and read.

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::trust::MemberError;
use crate::id::PublicKey;
use crate::identity::{SecretKey, SignedMembership};
use crate::limits::CERTIFICATE_MAX;
use crate::wire;

/// Object identifier of the extension that carries the membership: below 2.25 (ITU-T X.667), where anyone may take the number of
/// a random UUID; ours is cut to 31 bits, as not every parser reads larger arcs.
const MEMBERSHIP_OID: &[u64] = &[2, 25, 1_473_098_291, 1];
/// The same, as text.
const MEMBERSHIP_OID_TEXT: &str = "2.25.1473098291.1";
/// ed25519 (RFC 8410, section 3).
const ED25519_OID_TEXT: &str = "1.3.101.112";

/// PKCS #8 form of an ed25519 key (RFC 8410, section 7): this prefix, then the seed.
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The secret key in PKCS #8, wiped when dropped.
pub(super) fn pkcs8(secret: &SecretKey) -> Zeroizing<Vec<u8>> {
    let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + 32));
    der.extend_from_slice(&PKCS8_PREFIX);
    der.extend_from_slice(&*secret.seed());
    der
}

/// Makes the self-signed certificate.
pub(super) fn make(secret: &SecretKey, membership: &SignedMembership) -> Result<CertificateDer<'static>, rcgen::Error> {
    let der = pkcs8(secret);
    let key =
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der.as_slice()), &rcgen::PKCS_ED25519)?;
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(MEMBERSHIP_OID, wire::encode(membership))];
    Ok(params.self_signed(&key)?.der().clone())
}

/// What a certificate says, unchecked, but for its form.
#[derive(Debug)]
pub(super) struct Shown {
    /// The key in it; the TLS handshake proves that the peer holds it.
    pub key: PublicKey,
    /// Its subject public key info, in DER.
    pub spki: Vec<u8>,
    /// The membership in it.
    pub membership: SignedMembership,
}

/// Reads a member's certificate.
///
/// Its own signature is not checked: the TLS handshake proves possession of the key, and the membership names the key.
pub(super) fn read(der: &[u8]) -> Result<Shown, MemberError> {
    let form = |why| MemberError::Form { why };
    if der.len() > 2 * CERTIFICATE_MAX + 1024 {
        return Err(form("it is too long"));
    }
    let (rest, cert) = X509Certificate::from_der(der).map_err(|_| form("it is no X.509 certificate"))?;
    if !rest.is_empty() {
        return Err(form("bytes follow it"));
    }
    let spki = cert.public_key();
    if spki.algorithm.algorithm.to_id_string() != ED25519_OID_TEXT {
        return Err(form("its key is not an ed25519 key"));
    }
    let key = <[u8; 32]>::try_from(spki.subject_public_key.data.as_ref())
        .map_err(|_| form("its key does not have 32 bytes"))?;
    let mut found = cert.extensions().iter().filter(|extension| extension.oid.to_id_string() == MEMBERSHIP_OID_TEXT);
    let (Some(extension), None) = (found.next(), found.next()) else {
        return Err(form("it does not hold exactly one membership"));
    };
    let membership = wire::decode::<SignedMembership, { 2 * CERTIFICATE_MAX }>(extension.value)
        .map_err(|_| form("the membership in it is not readable"))?;
    Ok(Shown { key: PublicKey(key), spki: spki.raw.to_vec(), membership })
}
