//! bincode 2, standard configuration (little endian, variable-length integers), never past a limit.

use serde::{Serialize, de::DeserializeOwned};

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than a message of this kind may be, or it declares to be.
    #[error("the message is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not in the form of this version.
    #[error("the message is not readable: {0}")]
    Malformed(String),
    /// A message, and then something else.
    #[error("the message is followed by {extra} unexpected bytes")]
    Trailing {
        /// How many.
        extra: usize,
    },
}

/// Encodes a value.
///
/// Every type of this crate can be encoded: none has a map with unsized keys, an unsized sequence or a fallible serializer.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "writing to a Vec fails only for serializers that fail, and ours do not")]
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("our own types encode")
}

/// Decodes a value that has to take up all of `bytes`, which may be at most `LIMIT` long.
pub fn decode<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > LIMIT {
        return Err(DecodeError::TooLong { limit: LIMIT });
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(DecodeError::Trailing { extra: bytes.len() - used }),
        Err(bincode::error::DecodeError::LimitExceeded) => Err(DecodeError::TooLong { limit: LIMIT }),
        Err(error) => Err(DecodeError::Malformed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_trailing_bytes_are_enforced() {
        let bytes = encode(&vec![1u64, 2, 3]);
        assert_eq!(decode::<Vec<u64>, 64>(&bytes).unwrap(), [1, 2, 3]);
        assert_eq!(decode::<Vec<u64>, 3>(&bytes), Err(DecodeError::TooLong { limit: 3 }));
        assert_eq!(decode::<Vec<u64>, 64>(&[bytes.clone(), vec![0]].concat()), Err(DecodeError::Trailing { extra: 1 }));
        assert!(matches!(decode::<Vec<u64>, 64>(&bytes[..2]), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_declared_length_allocates_nothing() {
        // A vector that claims to hold 2^60 strings.
        let claim = [&[253u8][..], &(1u64 << 60).to_le_bytes()].concat();
        assert!(decode::<Vec<String>, 1024>(&claim).is_err());
        assert!(decode::<bytes::Bytes, 1024>(&claim).is_err());
    }
}
