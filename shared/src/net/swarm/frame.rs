//! Messages on a stream: four little-endian bytes of length, then so many bytes of [`crate::wire`] encoding.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire;

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream or its connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer breaks the protocol.
    #[error("a message of {len} bytes is longer than the limit of {limit} bytes")]
    TooLong { len: u32, limit: usize },
    /// The peer breaks the protocol.
    #[error(transparent)]
    Decode(#[from] wire::DecodeError),
}

impl FrameError {
    /// Whether the peer, and not the network, is to blame.
    pub(super) const fn is_protocol(&self) -> bool {
        !matches!(self, Self::Io(_))
    }
}

/// Reads one message; `None` if the stream ended before it began.
pub(super) async fn read<T: DeserializeOwned, const LIMIT: usize>(
    io: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut len = [0; 4];
    if io.read(&mut len[..1]).await? == 0 {
        return Ok(None);
    }
    io.read_exact(&mut len[1..]).await?;
    let len = u32::from_le_bytes(len);
    if len as usize > LIMIT {
        return Err(FrameError::TooLong { len, limit: LIMIT });
    }
    // At most LIMIT bytes, and those the largest frame may have anyway.
    let mut bytes = vec![0; len as usize];
    io.read_exact(&mut bytes).await?;
    Ok(Some(wire::decode::<T, LIMIT>(&bytes)?))
}

/// Writes one message, in one piece.
pub(super) async fn write<T: Serialize>(io: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    let mut bytes = Vec::new();
    put(&mut bytes, message);
    io.write_all(&bytes).await
}

/// Appends one message as it is written.
pub(super) fn put<T: Serialize>(bytes: &mut Vec<u8>, message: &T) {
    let body = wire::encode(message);
    bytes.reserve(4 + body.len());
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::id::VersionId;
    use crate::image::Run;
    use crate::limits::{HAVE_RANGES_MAX, PEER_FRAME_MAX};
    use crate::wire::PeerFrame;

    type Read = Result<Option<PeerFrame>, FrameError>;

    #[test]
    fn the_longest_have_fits_a_frame() {
        let run = Run { first: u32::MAX - 1, count: u32::MAX };
        let have = PeerFrame::Have { image: VersionId([255; 32]), ranges: vec![run; HAVE_RANGES_MAX] };
        let mut bytes = Vec::new();
        block_on(write(&mut bytes, &have)).unwrap();
        let read: Read = block_on(read::<_, PEER_FRAME_MAX>(&mut bytes.as_slice()));
        assert_eq!(read.unwrap(), Some(have));
    }

    #[test]
    fn an_end_between_messages_is_no_error_and_one_inside_is() {
        let none: Read = block_on(read::<_, PEER_FRAME_MAX>(&mut [].as_slice()));
        assert_eq!(none.unwrap(), None);
        for cut in [&[1u8, 0][..], &[2, 0, 0, 0, 1]] {
            let read: Read = block_on(read::<_, PEER_FRAME_MAX>(&mut &*cut));
            assert!(matches!(read, Err(FrameError::Io(_))));
        }
        let long: Read = block_on(read::<_, PEER_FRAME_MAX>(&mut [0xffu8; 8].as_slice()));
        assert!(long.unwrap_err().is_protocol());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut framed = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
            framed.extend(&bytes);
            let first: Read = block_on(read::<_, PEER_FRAME_MAX>(&mut framed.as_slice()));
            let second: Read = block_on(read::<_, PEER_FRAME_MAX>(&mut bytes.as_slice()));
            drop((first, second));
        }
    }
}
