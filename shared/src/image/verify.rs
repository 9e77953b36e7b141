//! The only way to bytes that may be stored, announced, mounted or served.

use bytes::Bytes;

use crate::id::Hash;

/// Bytes whose hash was checked. Nothing but [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified(Bytes);

impl Verified {
    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Takes the bytes out.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// The bytes are not what the manifest says; they were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes have the hash {found:.12}, the manifest says {expected:.12}")]
pub struct Corrupt {
    /// What the manifest says.
    pub expected: Hash,
    /// What arrived.
    pub found: Hash,
    /// How many bytes arrived.
    pub len: usize,
}

/// Hashes the whole buffer at once (BLAKE3 is ten times slower fed by network frames) and compares.
pub fn verify(expected: &Hash, bytes: Bytes) -> Result<Verified, Corrupt> {
    let found = Hash::of(&bytes);
    if found == *expected { Ok(Verified(bytes)) } else { Err(Corrupt { expected: *expected, found, len: bytes.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_is_corrupt() {
        let good = vec![7u8; 1000];
        let expected = Hash::of(&good);
        let mut bad = good.clone();
        bad[999] ^= 0x80;
        assert_eq!(verify(&expected, good.clone().into()).unwrap().into_bytes(), good);
        assert_eq!(verify(&expected, bad.into()).unwrap_err().expected, expected);
    }
}
