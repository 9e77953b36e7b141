//! Join tokens: stateless, {subject, nonce, expiry} under a key that the heads share. Redemption (nonce to public key, once)
//! is the head's business; see REAL-CLUSTERS rule 9 in the design.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Hash, ImageName, Mac, NodeName};
use crate::time::UnixTime;
use crate::wire;

/// Largest token in bytes.
pub(super) const TOKEN_MAX: usize = 512;

/// The key under which heads make tokens.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The nonce of the token for one boot: the same boot asks twice and gets the same bytes.
    pub fn nonce(&self, purpose: &[u8]) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.0, &[b"wulfpack token nonce v1\0", purpose].concat());
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&hash.as_bytes()[..16]);
        nonce
    }

    fn tag(&self, body: &[u8]) -> Hash {
        Hash(*blake3::keyed_hash(&self.0, &[b"wulfpack join token v1\0", body].concat()).as_bytes())
    }

    /// Makes the token.
    pub fn seal(&self, body: &TokenBody) -> Vec<u8> {
        let body = wire::encode(body);
        let tag = self.tag(&body);
        wire::encode(&Sealed { body, tag })
    }

    /// Reads a token that this key made and whose time has not run out.
    pub fn open(&self, token: &[u8], now: UnixTime) -> Result<TokenBody, TokenError> {
        let sealed: Sealed = wire::decode::<_, TOKEN_MAX>(token)?;
        // blake3's comparison is in constant time.
        if blake3::Hash::from_bytes(sealed.tag.0) != blake3::Hash::from_bytes(self.tag(&sealed.body).0) {
            return Err(TokenError::Forged);
        }
        let body: TokenBody = wire::decode::<_, TOKEN_MAX>(&sealed.body)?;
        if now > body.expires {
            return Err(TokenError::Expired { expired: body.expires, now });
        }
        Ok(body)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    body: Vec<u8>,
    tag: Hash,
}

/// Whom a token admits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenSubject {
    /// The named node, booting from this interface; no MAC where a ticket was written for a running host.
    Node {
        /// Its name.
        name: NodeName,
        /// The interface that asked for the boot script.
        mac: Option<Mac>,
    },
    /// Up to `count` hosts that may fetch one image.
    Anonymous {
        /// The image.
        image: ImageName,
        /// How many keys may redeem it.
        count: u32,
    },
    /// A machine that no node is: it may tell what it is and wait to become one. It opens no node's data and no image.
    Discover {
        /// The interface that asked for the boot script.
        mac: Mac,
        /// Whether the network demands no administrator's word before a join token is given.
        trusted: bool,
        /// What the machine runs: the hash of kernel and kernel arguments.
        runs: Hash,
    },
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBody {
    /// Whom it admits.
    pub subject: TokenSubject,
    /// Unique for each boot or ticket.
    pub nonce: [u8; 16],
    /// Last moment at which it may be shown.
    pub expires: UnixTime,
}

/// Why a token admits nobody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token.
    #[error("join token refused: {0}")]
    Decode(#[from] wire::DecodeError),
    /// Made by somebody else, or altered.
    #[error("join token refused: it was not made by a head of this cluster")]
    Forged,
    /// Too late.
    #[error("join token refused: it expired at {expired}, now it is {now}")]
    Expired {
        /// When.
        expired: UnixTime,
        /// The head's time.
        now: UnixTime,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> TokenBody {
        let subject = TokenSubject::Node { name: "n1".parse().unwrap(), mac: Some(Mac([2, 0, 0, 0, 0, 1])) };
        TokenBody { subject, nonce: [9; 16], expires: UnixTime(1000) }
    }

    #[test]
    fn every_altered_byte_and_every_other_key_is_refused() {
        let key = TokenKey::new([5; 32]);
        let token = key.seal(&body());
        assert_eq!(key.open(&token, UnixTime(1000)).unwrap(), body());
        assert!(matches!(key.open(&token, UnixTime(1001)), Err(TokenError::Expired { .. })));
        assert_eq!(TokenKey::new([6; 32]).open(&token, UnixTime(0)), Err(TokenError::Forged));
        for position in 0..token.len() {
            let mut altered = token.clone();
            altered[position] ^= 1;
            assert!(key.open(&altered, UnixTime(0)).is_err(), "byte {position}");
        }
    }
}
