//! ed25519 keys and signatures. Every signature names its purpose, so that none can be used for another.

use core::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::PublicKey;

/// An ed25519 secret key. It is wiped from memory when dropped and never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A fresh key from the operating system's random generator.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        Ok(Self::from_seed(*seed))
    }

    /// The key with this seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed; for writing the key to a file that only its owner can read.
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `bytes` for the purpose that `domain` names.
    pub fn sign(&self, domain: &str, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&prefixed(domain, bytes)).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

fn prefixed(domain: &str, bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(domain.len() + 1 + bytes.len());
    message.extend_from_slice(domain.as_bytes());
    message.push(0);
    message.extend_from_slice(bytes);
    message
}

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Somebody else's key.
    #[error("signed by key {signer:.16}, which is not a key of this cluster")]
    Stranger {
        /// The key that claims to have signed.
        signer: PublicKey,
    },
    /// A key of the cluster is named, but it did not sign this.
    #[error("the signature does not fit: the bytes were altered")]
    Forged,
}

impl Signature {
    /// Checks that `signer` is one of `trusted` and signed `bytes` for the purpose `domain`.
    pub fn verify(
        &self,
        domain: &str,
        bytes: &[u8],
        signer: &PublicKey,
        trusted: &[PublicKey],
    ) -> Result<(), SignatureError> {
        if !trusted.contains(signer) {
            return Err(SignatureError::Stranger { signer: *signer });
        }
        let key = VerifyingKey::from_bytes(&signer.0).map_err(|_| SignatureError::Forged)?;
        let signature = ed25519_dalek::Signature::from_bytes(&self.0);
        key.verify_strict(&prefixed(domain, bytes), &signature).map_err(|_| SignatureError::Forged)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Signature({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (head, tail) = self.0.split_at(32);
        (<[u8; 32]>::try_from(head).unwrap_or_default(), <[u8; 32]>::try_from(tail).unwrap_or_default())
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (head, tail) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        [head, tail].concat().try_into().map(Self).map_err(|_| de::Error::custom("a signature has 64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_counts_for_one_purpose_one_key_and_one_message() {
        let (mine, other) = (SecretKey::from_seed([3; 32]), SecretKey::from_seed([4; 32]));
        let (key, signature) = (mine.public(), mine.sign("purpose", b"message"));
        assert_eq!(signature.verify("purpose", b"message", &key, &[key]), Ok(()));
        assert_eq!(signature.verify("purpose2", b"message", &key, &[key]), Err(SignatureError::Forged));
        assert_eq!(signature.verify("purpose", b"massage", &key, &[key]), Err(SignatureError::Forged));
        let stranger = Err(SignatureError::Stranger { signer: key });
        assert_eq!(signature.verify("purpose", b"message", &key, &[other.public()]), stranger);
    }

    #[test]
    fn a_secret_key_does_not_print_itself() {
        let key = SecretKey::from_seed([0x5a; 32]);
        assert!(!format!("{key:?}").contains("5a5a"));
    }
}
