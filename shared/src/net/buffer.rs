//! Memory for units on their way between sockets and files, used again: a fresh buffer of this size is a mapping that the kernel
//! fills with zeros page by page, and that costs as much as receiving what goes into it.

use core::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::limits::CHUNK_MAX;

/// Bytes that are kept for the next unit, at most, while nothing is on its way.
const KEPT: usize = 8 * CHUNK_MAX as usize;
/// Buffers are as large as the next power of two, from here on: one that served a chunk fits most others.
const SMALLEST: usize = 64 * 1024;

/// What lies ready.
#[derive(Debug)]
struct Pool {
    buffers: Vec<Box<[u8]>>,
    bytes: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

impl Pool {
    const fn new() -> Self {
        Self { buffers: Vec::new(), bytes: 0 }
    }

    /// One that has room for so many bytes.
    fn take(&mut self, len: usize) -> Option<Box<[u8]>> {
        let index = self.buffers.iter().rposition(|buffer| buffer.len() >= len)?;
        let memory = self.buffers.swap_remove(index);
        self.bytes -= memory.len();
        Some(memory)
    }

    /// Keeps it, if there is room for it.
    fn give(&mut self, memory: Box<[u8]>) {
        if self.bytes + memory.len() <= KEPT {
            self.bytes += memory.len();
            self.buffers.push(memory);
        }
    }
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory for one unit; it goes back when it is dropped, as itself or as [`Bytes`]. What it holds at first is arbitrary.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Box<[u8]>,
    len: usize,
}

impl Buffer {
    /// Room for so many bytes.
    pub(super) fn of(len: usize) -> Self {
        let kept = pool().take(len);
        let size = if len > CHUNK_MAX as usize { len } else { len.next_power_of_two().max(SMALLEST) };
        Self { memory: kept.unwrap_or_else(|| vec![0; size].into_boxed_slice()), len }
    }

    /// As shared bytes, without a copy.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        pool().give(core::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_what_was_written_and_have_the_length_that_was_asked_for() {
        let mut buffer = Buffer::of(100_000);
        buffer.fill(7);
        let bytes = buffer.freeze();
        assert_eq!((bytes.len(), bytes[0], bytes[99_999]), (100_000, 7, 7));
    }

    #[test]
    fn what_comes_back_is_used_again_and_no_more_is_kept_than_the_limit() {
        let mut pool = Pool::new();
        pool.give(vec![7; 1000].into_boxed_slice());
        assert_eq!(pool.take(1001), None);
        let again = pool.take(1000).unwrap();
        assert_eq!((again[0], pool.bytes), (7, 0));
        for _ in 0..20 {
            pool.give(vec![0; CHUNK_MAX as usize].into_boxed_slice());
        }
        assert_eq!((pool.bytes, pool.buffers.len()), (KEPT, 8));
    }
}
