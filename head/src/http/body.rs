//! A body from memory that knows how much of it was sent.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::convert::Infallible;

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// How much is handed to the connection at a time: what a count may be wrong by when a client goes away. Bytes.
const PIECE: usize = 1024 * 1024;

/// Calls `done` with the number of bytes that were handed out, when the response has ended, well or not.
pub(super) struct CountedBody<F: FnOnce(u64) + Send> {
    left: Bytes,
    sent: u64,
    done: Option<F>,
}

impl<F: FnOnce(u64) + Send> CountedBody<F> {
    pub(super) fn new(bytes: Bytes, done: F) -> Self {
        Self { left: bytes, sent: 0, done: Some(done) }
    }
}

impl<F: FnOnce(u64) + Send + Unpin> HttpBody for CountedBody<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.left.len().min(PIECE);
        let piece = self.left.split_to(len);
        self.sent += len as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

impl<F: FnOnce(u64) + Send> Drop for CountedBody<F> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(self.sent);
        }
    }
}
