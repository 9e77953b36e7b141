//! A connection that sends parts of files in memory by sendfile(2), and everything else as it is.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use rustix::fs::sendfile;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::memory::file_of;

#[derive(Debug)]
pub(super) struct Wire(pub(super) TcpStream);

impl Wire {
    /// Writes by this call once the socket has room.
    fn poll_with(&self, cx: &mut Context<'_>, call: impl Fn() -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_io(Interest::WRITABLE, &call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_file(&self, cx: &mut Context<'_>, (file, offset): (&OwnedFd, u64), len: usize) -> Poll<io::Result<usize>> {
        self.poll_with(cx, || {
            let mut offset = offset;
            Ok(sendfile(&self.0, file, Some(&mut offset), len)?)
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match file_of(bytes) {
            Some((file, offset)) => self.poll_file(cx, (&file, offset), bytes.len()),
            None => Pin::new(&mut self.0).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let found = parts.iter().enumerate().find_map(|(index, part)| Some((index, part.len(), file_of(part)?)));
        let Some((index, len, (file, offset))) = found else {
            return Pin::new(&mut self.0).poll_write_vectored(cx, parts);
        };
        let before = parts.get(..index).unwrap_or_default();
        if before.iter().all(|part| part.is_empty()) {
            return self.poll_file(cx, (&file, offset), len);
        }
        // What stands before the file waits for it in one segment.
        self.poll_with(cx, || Ok(sendmsg(&self.0, before, &mut SendAncillaryBuffer::default(), SendFlags::MORE)?))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf as _, Bytes};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::memory::in_memory;
    use super::*;

    #[tokio::test]
    async fn what_is_sent_arrives_in_its_order_whatever_it_lies_in() {
        let file: Vec<u8> = (0..5_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (head, tail) = (Bytes::from_static(b"what stands before\r\n\r\n"), Bytes::from_static(b"and behind"));
        let expected = [&head[..], &file, &tail, &file[100_000..900_000]].concat();
        let mapped = in_memory(file);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sender = tokio::spawn(async move {
            let mut wire = Wire(listener.accept().await.unwrap().0);
            let mut all = head.chain(mapped.clone()).chain(tail).chain(mapped.slice(100_000..900_000));
            while all.has_remaining() {
                wire.write_buf(&mut all).await.unwrap();
            }
            wire.shutdown().await.unwrap();
        });
        let mut received = vec![];
        TcpStream::connect(address).await.unwrap().read_to_end(&mut received).await.unwrap();
        sender.await.unwrap();
        assert!(received == expected);
    }
}
