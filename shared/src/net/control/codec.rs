//! Requests and responses on a stream: four little-endian bytes of length, then so many bytes.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use serde::de::DeserializeOwned;

use crate::limits::{CONTROL_REQUEST_MAX, CONTROL_RESPONSE_MAX};
use crate::wire::{self, ControlRequest, ControlResponse};

/// libp2p asks it to read and write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ControlCodec;

async fn read<T: DeserializeOwned, const LIMIT: usize>(io: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut len = [0; 4];
    io.read_exact(&mut len).await?;
    let len = u32::from_le_bytes(len);
    if len as usize > LIMIT {
        return Err(invalid(wire::DecodeError::TooLong { limit: LIMIT }));
    }
    // The buffer grows with what arrives, not with what was announced.
    let mut bytes = Vec::new();
    io.take(u64::from(len)).read_to_end(&mut bytes).await?;
    if bytes.len() < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    wire::decode::<T, LIMIT>(&bytes).map_err(invalid)
}

async fn write(io: &mut (impl AsyncWrite + Unpin), bytes: Vec<u8>, limit: usize) -> io::Result<()> {
    if bytes.len() > limit {
        return Err(invalid(wire::DecodeError::TooLong { limit }));
    }
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    io.write_all(&len.to_le_bytes()).await?;
    io.write_all(&bytes).await?;
    io.close().await
}

fn invalid(error: wire::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Codec for ControlCodec {
    type Protocol = StreamProtocol;
    type Request = ControlRequest;
    type Response = ControlResponse;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<ControlRequest>
    where
        T: AsyncRead + Unpin + Send,
    {
        read::<_, CONTROL_REQUEST_MAX>(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<ControlResponse>
    where
        T: AsyncRead + Unpin + Send,
    {
        read::<_, CONTROL_RESPONSE_MAX>(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: ControlRequest) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, wire::encode(&request), CONTROL_REQUEST_MAX).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: ControlResponse) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, wire::encode(&response), CONTROL_RESPONSE_MAX).await
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let response = ControlResponse::Recorded { through: 7 };
        let mut buffer = Cursor::new(Vec::new());
        block_on(write(&mut buffer, wire::encode(&response), CONTROL_RESPONSE_MAX)).unwrap();
        let read = block_on(read::<ControlResponse, CONTROL_RESPONSE_MAX>(&mut Cursor::new(buffer.into_inner())));
        assert_eq!(read.unwrap(), response);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_are_read() {
        let error = block_on(read::<ControlRequest, 100>(&mut Cursor::new(101u32.to_le_bytes()))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(block_on(write(&mut Cursor::new(Vec::new()), vec![0; 101], 100)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
            framed.extend(&bytes);
            drop(block_on(read::<ControlRequest, CONTROL_REQUEST_MAX>(&mut Cursor::new(framed))));
            drop(block_on(read::<ControlResponse, CONTROL_RESPONSE_MAX>(&mut Cursor::new(bytes))));
        }
    }
}
